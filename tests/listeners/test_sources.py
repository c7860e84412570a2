"""The allow-list that the listeners share."""

import pytest

from mqtt_bridge.listeners.sources import Sources


@pytest.mark.parametrize(
    ("allowed", "ip", "expected"),
    [
        ((), "127.0.0.1", True),
        ((), "127.8.8.8", True),
        ((), "::1", True),
        ((), "::ffff:127.0.0.1", True),
        ((), "10.0.0.1", False),
        ((), "", False),
        ((), "not an address", False),
        (("10.0.0.5",), "10.0.0.5", True),
        (("10.0.0.5",), "10.0.0.6", False),
        (("10.0.0.5",), "127.0.0.1", False),
        (("10.0.0.7/24",), "10.0.0.99", True),
        (("10.0.0.0/24", "fd00::/8"), "::ffff:10.0.0.99", True),
        (("10.0.0.0/24", "fd00::/8"), "fd12::1%eth0", True),
        (("10.0.0.0/24", "fd00::/8"), "fe80::1%eth0", False),
        (("0.0.0.0/0",), "fd12::1", False),
    ],
)
def test_who_is_allowed(allowed: tuple[str, ...], ip: str, *, expected: bool) -> None:
    assert Sources(allowed).allows(ip) is expected
    assert bool(Sources(allowed)) is bool(allowed)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="pve1"):
        Sources(("pve1",))


def test_what_is_remembered_is_bounded() -> None:
    sources = Sources(("10.0.0.0/8",))
    for number in range(5000):
        sources.allows(f"192.168.{number >> 8}.{number & 255}")
    assert sources.allows.cache_info().currsize <= 1024
