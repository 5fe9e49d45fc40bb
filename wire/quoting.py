"""Words of others in sentences of ours: never more of them than is of use to a reader.

Who refuses something says what it was, and what it was may have been 64 MiB. Called
wherever a sentence, or the name of a place, is made of what came from outside.
"""

from __future__ import annotations

#: Characters of one word, where a sentence quotes it.
MOST_QUOTED = 80
_MORE = "..."


def shortened(text: str, most: int = MOST_QUOTED) -> str:
    """Its first `most` characters, the last of them an ellipsis where there were more.

    What has no place in UTF-8 (one half of a surrogate pair) is written as an escape.
    """
    if len(text) > most:
        text = text[: most - len(_MORE)] + _MORE
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def quoted(text: str) -> str:
    """As `shortened`, in quotes, with escapes for what would not be seen."""
    return repr(shortened(text))
