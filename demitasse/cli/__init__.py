"""The command line: one small module per group of commands.

A command translates and prints; what it asks for is done by the rooms below.
Heavy imports stand inside the commands, so that `demitasse --help` is quick.
`main` is the entry point; mistakes that people make end there, in one sentence.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command that the arguments name; leaves with its exit status."""
    from demitasse.cli.app import app
    from demitasse.cli.failures import explanation

    try:
        app(prog_name="demitasse")
    except Exception as error:
        text = explanation(error)
        if text is None:
            raise
        print(f"demitasse: {text}", file=sys.stderr)
        sys.exit(1)
