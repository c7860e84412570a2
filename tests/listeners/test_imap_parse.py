"""What an IMAP server may say, and what it should not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.listeners.imap_parse import Response, arrived, decode_folder, encode_folder, items_of, literal_length


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", "INBOX"),
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # the example of RFC 3501
        ("Köln & Umgebung", "K&APY-ln &- Umgebung"),
    ],
)
def test_folder_names(name: str, wire: str) -> None:
    assert encode_folder(name) == wire
    assert decode_folder(wire) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_folder_name_comes_back(name: str) -> None:
    assert encode_folder(name).isascii()
    assert decode_folder(encode_folder(name)) == name


def test_a_fetched_mail() -> None:
    literal = Response(b"* 3 FETCH (UID 7 FLAGS (\\Seen) BODY[]<0> {5})", (b"a)\r\nb",))
    assert items_of(literal) == {"UID": b"7", "FLAGS": [b"\\Seen"], "BODY[]<0>": b"a)\r\nb"}
    quoted = Response(b'* 3 FETCH (UID 7 BODY[] "a \\"b\\" {3}" INTERNALDATE "17-Jul-1996 02:44:25 -0700")')
    assert items_of(quoted)["BODY[]"] == b'a "b" {3}'
    assert arrived(items_of(quoted)["INTERNALDATE"]) == 837596665
    assert items_of(Response(b"* 3 FETCH (UID 7 BODY[] NIL)"))["BODY[]"] is None
    assert items_of(Response(b"* 3 EXISTS")) == {}


@given(st.binary(max_size=300), st.lists(st.binary(max_size=20), max_size=3))
def test_anything_else_is_a_value_error(line: bytes, literals: list[bytes]) -> None:
    literal_length(line)
    arrived(line)
    for response in (Response(line, tuple(literals)), Response(b"* 1 FETCH (" + line + b")", tuple(literals))):
        try:
            items_of(response)
        except ValueError:
            continue


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ValueError, match="too deep"):
        items_of(Response(b"* 1 FETCH " + b"(" * 100_000))
