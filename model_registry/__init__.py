"""What there is to serve: packages, versions, aliases, settings, and who serves them now.

A published version never changes. What may change - an alias, a setting, which
versions are served - changes in one transaction and leaves a line of history.
Imports `storage`, `envs` and `wire`; knows no process, no HTTP and no model
code. All calls are synchronous and may wait for a disk: a server makes them
from threads.
"""
