"""Words of others: cut on a character, and always text."""

from __future__ import annotations

import pytest

from wire.quoting import MOST_QUOTED, quoted, shortened


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("", 5, ""),
        ("abcde", 5, "abcde"),
        ("abcdef", 5, "ab..."),
        ("\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac", 5, "\u20ac\u20ac..."),
        ("a\ud800b", 5, "a\\ud800b"),
    ],
)
def test_of_a_long_text_the_beginning_is_left(text: str, most: int, short: str) -> None:
    assert shortened(text, most) == short
    assert short.encode().decode() == short


def test_a_quotation_shows_what_would_not_be_seen_and_ends() -> None:
    assert quoted("a\n") == "'a\\n'"
    assert quoted("x" * 10_000) == repr("x" * (MOST_QUOTED - 3) + "...")
