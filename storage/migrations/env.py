"""Runs the steps in the transaction that `storage.engine.migrate` passes in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
