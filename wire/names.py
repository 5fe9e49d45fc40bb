"""What things may be called, as regular expressions: the only place that says so.

Such names stand in URLs, file names, metrics, logs and SQL, and need no quoting in
any of them. All are ASCII and at most 63 characters long, as names in DNS are.
"""

from __future__ import annotations

#: A model, and an alias.
NAME = "[a-z][a-z0-9-]{0,62}"
#: What may stand for a version: a number, the beginning of one, or an alias.
SELECTOR = "[a-z0-9][a-z0-9.-]{0,62}"
#: A model's input or output.
FIELD = "[A-Za-z_][A-Za-z0-9_]{0,62}"
