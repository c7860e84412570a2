"""What lies at a broker may be anything."""

import pytest

from mqtt_bridge.discovered import is_ours, shed

OURS = b'{"o":{"name":"proxmox-mcp"},"cmps":{"cpu":{"p":"sensor","uniq_id":"a","en":false}}}'


def test_ours() -> None:
    assert is_ours(OURS)
    assert shed(OURS) == b'{"o":{"name":"proxmox-mcp"},"cmps":{"cpu":{"p":"sensor","uniq_id":"a_gone"}}}'
    assert shed(shed(OURS)) == b""


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"7", b"[]", b'{"o":[]}', b'{"o":{"name":"another"}}', b"[" * 100_000, b'{"o":' * 50_000],
    ids=["empty", "no text", "a number", "a list", "no origin", "another's", "nested", "nested objects"],
)
def test_what_is_not_ours_is_no_error(payload: bytes) -> None:
    assert not is_ours(payload)
    assert not shed(payload)
