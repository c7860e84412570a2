import ipaddress

import pytest
import voluptuous as vol
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.settings import values as v


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "TRUE", "On"])
def test_true(text: str) -> None:
    assert v.BOOLEAN(text) is True


@pytest.mark.parametrize("text", ["0", "false", "no", "off", "No"])
def test_false(text: str) -> None:
    assert v.BOOLEAN(text) is False


@pytest.mark.parametrize("text", ["2", "ja", "truefalse", "-"])
def test_neither_true_nor_false(text: str) -> None:
    with pytest.raises(vol.Invalid, match="write true or false"):
        v.BOOLEAN(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600), ("1.5 m", 90), ("500ms", 0.5), ("2H", 7200)],
)
def test_duration(text: str, seconds: float) -> None:
    assert v.duration(0, 86400)(text) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("30000", 30), ("1500", 1.5), ("30s", 30), ("1m", 60)])
def test_duration_in_milliseconds(text: str, seconds: float) -> None:
    assert v.duration(1, 600, plain="ms")(text) == seconds


@pytest.mark.parametrize("text", ["9", "0", "-1", "61", "2m", "1e3", "nan", "inf", "10 x", "10s5", ""])
def test_duration_out_of_bounds_or_shape(text: str) -> None:
    with pytest.raises(vol.Invalid, match="from 10s to 1m"):
        v.duration(10, 60)(text)


@given(st.integers(0, 86400), st.sampled_from([("", 1), ("s", 1), ("m", 60), ("h", 3600), ("ms", 0.001)]))
def test_every_duration_within_bounds_is_read(number: int, unit: tuple[str, float]) -> None:
    assert v.duration(0, 86400 * 3600)(f"{number}{unit[0]}") == pytest.approx(number * unit[1])


@given(st.text().filter(lambda text: not text[:1].isdigit()))
def test_what_begins_with_no_digit_is_no_duration(text: str) -> None:
    with pytest.raises(vol.Invalid, match="30s, 5m or 1h"):
        v.duration(1, 60)(text)


@given(st.sets(st.integers(100, 5000), max_size=40))
def test_vmids_and_ranges_of_them_are_the_same_set(ids: set[int]) -> None:
    ranges = sorted(ids)
    text = ",".join(f" {i} - {i}" if i % 2 else str(i) for i in ranges)
    assert v.VMIDS(text) == tuple(ranges)


def test_vmid_ranges() -> None:
    assert v.VMIDS("300, 100-102,101") == (100, 101, 102, 300)


@pytest.mark.parametrize("text", ["99", "200-100", "100-", "a", "100-102-104", "1000000000"])
def test_wrong_vmids(text: str) -> None:
    with pytest.raises(vol.Invalid, match="entry 1"):
        v.VMIDS(text)


def test_a_range_of_millions_is_refused_without_building_it() -> None:
    with pytest.raises(vol.Invalid, match="more than 100000"):
        v.VMIDS("100-999999999")


@given(st.lists(st.text(alphabet="abcXYZ019._-", min_size=1, max_size=8)))
def test_a_list_keeps_its_parts_once_and_in_order(parts: list[str]) -> None:
    assert v.split(" , ".join(["", *parts, ""])) == tuple(dict.fromkeys(parts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pve1", ("pve1", None)),
        ("pve1.lan:8007", ("pve1.lan", 8007)),
        ("192.0.2.1:443", ("192.0.2.1", 443)),
        ("https://pve1:8006/", ("pve1", 8006)),
        ("HTTPS://pve1/#v1:0", ("pve1", None)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("[2001:DB8:0::1]:9006", ("2001:db8::1", 9006)),
        ("2001:db8::1", ("2001:db8::1", None)),
        ("https://[::1]:1", ("::1", 1)),
    ],
)
def test_host(text: str, expected: tuple[str, int | None]) -> None:
    assert v.HOST_PORT(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://pve1", "https only"),
        ("mqtt://pve1", "is not a host"),
        ("root:pw@pve1", "has an @"),
        ("pve1:0", "port"),
        ("pve1:99999", "port"),
        ("pve 1", "neither"),
        ("1:2:3", "neither"),
        ("-x", "neither"),
        (":8006", "neither"),
    ],
)
def test_wrong_host(text: str, reason: str) -> None:
    with pytest.raises(vol.Invalid, match=reason):
        v.HOST_PORT(text)


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_every_ipv6_address_with_a_port(address: ipaddress.IPv6Address, port: int) -> None:
    host, read = v.HOST_PORT(f"[{address.exploded}]:{port}")
    assert ipaddress.ip_address(host) == address
    assert read == port


@given(st.binary(min_size=32, max_size=32), st.booleans(), st.sampled_from(["", "sha256 Fingerprint=", "SHA-256: "]))
def test_a_fingerprint_is_told_in_one_form(digest: bytes, colons: bool, prefix: str) -> None:
    text = digest.hex(":") if colons else digest.hex()
    assert v.FINGERPRINT(prefix + text) == digest.hex(":").upper()


@pytest.mark.parametrize("text", ["", "AA:BB", "A" * 63, "G" * 64, "SHA256:abcdef="])
def test_wrong_fingerprint(text: str) -> None:
    with pytest.raises(vol.Invalid, match="proxmox-mcp check"):
        v.FINGERPRINT(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root@pam", ("root@pam", None)),
        ("root@pam!tok", ("root@pam", "tok")),
        ("me@example.org@ldap", ("me@example.org@ldap", None)),
    ],
)
def test_user(text: str, expected: tuple[str, str | None]) -> None:
    assert v.USER(text) == expected


@pytest.mark.parametrize("text", ["root", "root@", "@pam", "root@pam!", "root@pam!tok=secret", "ro ot@pam"])
def test_wrong_user(text: str) -> None:
    with pytest.raises(vol.Invalid, match=r"mcp@pve") as caught:
        v.USER(text)
    assert "secret" not in str(caught.value)


def test_a_token_name_that_is_a_secret_is_told_apart() -> None:
    with pytest.raises(vol.Invalid, match="looks like the token's secret") as caught:
        v.TOKEN_NAME("11111111-2222-3333-4444-555555555555")
    assert "1111" not in str(caught.value)


@pytest.mark.parametrize("text", ["proxmox", "home/proxmox", "/proxmox/"])
def test_topic(text: str) -> None:
    assert v.TOPIC(text) == text.strip("/")


@pytest.mark.parametrize("text", ["#", "a/+/b", "$SYS", "a//b", "/", "a\nb"])
def test_wrong_topic(text: str) -> None:
    with pytest.raises(vol.Invalid, match="MQTT topic"):
        v.TOPIC(text)
