"""Telling the machine that we run on."""

from pathlib import Path

import pytest

from mqtt_bridge.whoami import Identity, is_own_address, read_identity

UUID = "af995afb-5b0b-94e9-2013-15bf61db0169"
SWAPPED = "fb5a99af-0b5b-e994-2013-15bf61db0169"


def kernel(root: Path, uuid: str | None, **macs: str) -> Path:
    (root / "class/dmi/id").mkdir(parents=True)
    if uuid is not None:
        (root / "class/dmi/id/product_uuid").write_text(uuid)
    for card, mac in macs.items():
        (root / "class/net" / card).mkdir(parents=True)
        (root / "class/net" / card / "address").write_text(mac + "\n")
    return root


@pytest.mark.parametrize("shown", [UUID + "\n", UUID.upper(), SWAPPED])
def test_the_smbios_uuid_is_recognised_in_either_byte_order(tmp_path: Path, shown: str) -> None:
    me = read_identity(kernel(tmp_path, shown))
    assert me.matches({"smbios1": f"uuid={UUID}"})
    assert me.matches({"smbios1": f"base64=1,serial=abc,uuid={UUID.upper()}"})
    assert not me.matches({"smbios1": "uuid=00000000-5b0b-94e9-2013-15bf61db0169"})
    assert not me.matches({"description": f"uuid={UUID}"})


@pytest.mark.parametrize("shown", ["", "Not Settable", "0" * 8 + "-0000-0000-0000-" + "0" * 12, "f" * 32])
def test_placeholders_are_nobody(tmp_path: Path, shown: str) -> None:
    me = read_identity(kernel(tmp_path, shown))
    assert not me
    assert not me.matches({"smbios1": f"uuid={shown}"})


def test_network_cards_tell_vms_and_containers(tmp_path: Path) -> None:
    me = read_identity(kernel(tmp_path, None, lo="00:00:00:00:00:00", eth0="bc:24:11:aa:00:01"))
    assert me.macs == {"bc:24:11:aa:00:01"}
    assert me.matches({"net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:AA:00:01,ip=dhcp,type=veth"})
    assert me.matches({"net3": "virtio=BC:24:11:AA:00:01,bridge=vmbr0"})
    assert not me.matches({"net0": "virtio=BC:24:11:AA:00:02,bridge=vmbr0"})
    assert not me.matches({"description": "bc:24:11:aa:00:01"})


def test_a_machine_without_sys_is_nobody(tmp_path: Path) -> None:
    me = read_identity(tmp_path / "nothing")
    assert me == Identity()
    assert not me


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "192.0.2.55", "2001:db8::55", "", None, "x"],  # noqa: S104
)
def test_addresses_that_are_not_ours(ip: str | None) -> None:
    assert not is_own_address(ip)


def test_the_address_towards_others_is_ours() -> None:
    import socket  # noqa: PLC0415 -- only here

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no route")
        ip = probe.getsockname()[0]
    assert is_own_address(ip)
