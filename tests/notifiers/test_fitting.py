"""Cutting: never beyond the limit, never through a character that is escaped, at a word where one is near."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.notifiers.fitting import Size, begin, end, json_bytes, utf16
from tests.notifiers.texts import texts


def test_what_fits_stays_as_it_is() -> None:
    assert begin("all of it", 9) == "all of it"
    assert end("one\ntwo", 7) == "one\ntwo"


def test_a_text_is_cut_between_words_and_a_log_between_lines() -> None:
    assert begin("the storage pbs-main is full", 20) == "the storage…"
    assert begin("x" * 50, 20) == "x" * 19 + "…"
    assert end("first line\nsecond line\nlast line", 22) == "…\nlast line"
    assert end("first line\nsecond line\nlast line", 24) == "…\nsecond line\nlast line"
    assert end("0123456789", 5) == "…6789"


def test_an_emoji_counts_twice_for_utf16_and_four_times_for_bytes() -> None:
    assert (utf16("\U0001f600"), json_bytes("\U0001f600"), json_bytes('"\n'), json_bytes("ä")) == (2, 4, 4, 2)
    assert begin("\U0001f600" * 10, 10) == "\U0001f600" * 4 + "…"


@given(texts, st.integers(0, 300), st.sampled_from((utf16, json_bytes, len)))
def test_never_beyond_the_limit_and_only_from_the_text(text: str, limit: int, size: Size) -> None:
    first, last = begin(text, limit, size), end(text, limit, size)
    assert size(first) <= limit
    assert size(last) <= limit
    assert text.startswith(first.removesuffix("…"))
    assert text.endswith(last.removeprefix("…").removeprefix("\n")) or last == text


@given(texts)
def test_sizes_are_what_python_and_json_say(text: str) -> None:
    assert utf16(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2
    assert json_bytes(text) >= len(text.encode("utf-8", "surrogatepass"))
    assert json_bytes(text) == sum(map(json_bytes, text))
    assert json.loads(f'"{json.dumps(text)[1:-1]}"') == text
