"""The database: how it is opened, what tables it has, how it grows.

SQLite in one file by default, another database by its URL. Knows tables and
transactions, not what they mean: the rules are `model_registry`'s, which is
the only caller of `tables`. Whoever composes a process opens the engine and
passes it on.
"""
