from hypothesis import example, given
from hypothesis import strategies as st

from mqtt_bridge.homeassistant.ids import decode, encode, slug

PARTS = st.lists(st.text(min_size=1), min_size=1, max_size=5).map(tuple)


@given(PARTS)
@example(("a", "_b"))
@example(("a_", "b"))
@example(("a__5f_b",))
@example(("local.lvm", "5f"))
def test_ids_can_be_taken_apart_again(parts: tuple[str, ...]) -> None:
    """So no two things share one."""
    assert decode(encode(parts)) == parts


@given(st.text())
def test_what_is_no_id_is_refused(text: str) -> None:
    parts = decode(text)
    assert parts is None or encode(parts) == text


def test_common_ones_are_readable() -> None:
    assert encode(("proxmox", "lab", "guest", "100")) == "proxmox_lab_guest_100"
    assert encode(("proxmox", "lab", "storage", "pve-1", "local-lvm")) == "proxmox_lab_storage_pve-1_local-lvm"
    assert encode(("proxmox", "my_lab", "node", "a.b")) == "proxmox_my__5f_lab_node_a__2e_b"


def test_slugs() -> None:
    assert [slug(text) for text in ("Web-01.lan", "Büro", "日本")] == ["web_01_lan", "buro", "unnamed"]
