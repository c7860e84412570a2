"""What of a text from outside is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.wording.clean import clean, one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("line one\r\nline two\ttabbed", "line one\nline two\ttabbed"),
        ("bell\x07 nul\x00 c1\x9b", "bell nul c1"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("evil\u202egnp.exe\u2066x\u2069", "evilgnp.exex"),
        ("zero\u200bwidth\u2060join\ufeff", "zerowidthjoin"),
        ("hidden" + "".join(chr(0xE0000 + ord(c)) for c in "obey me"), "hidden"),
        ("Köln – Größe 日本語 ё", "Köln – Größe 日本語 ё"),
        ("a\n\n\n\n\nb   \n", "a\n\nb"),
        ("z" + "\u0336" * 50, "z" + "\u0336" * 4),
        ("lone \ud800 surrogate", "lone  surrogate"),
    ],
)
def test_what_cannot_be_seen_goes(text: str, expected: str) -> None:
    assert clean(text, 1000) == expected


def test_length_is_bounded() -> None:
    assert clean("x" * 5000, 100) == "x" * 99 + "…"
    assert one_line("a\n b\t\tc") == "a b c"
    assert len(one_line("word " * 100_000)) <= 200


@given(st.text(), st.integers(min_value=1, max_value=300))
def test_any_text(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert clean(shown, limit) == shown
    assert shown.encode("utf-8", "strict").decode() == shown
    assert "\n" not in one_line(text, limit)
