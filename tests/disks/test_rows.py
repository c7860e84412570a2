"""The list of a node's disks, and of its pools: ids, types, and what is no disk."""

from typing import Any

import pytest

from mqtt_bridge.model import DiskState, ZfsPoolState
from mqtt_bridge.proxmox import disk_rows
from mqtt_bridge.proxmox.disks import LISTS, DiskBook
from mqtt_bridge.proxmox.smart import Smart
from mqtt_bridge.topics import Topics


def row(dev: str, **more: Any) -> dict[str, Any]:
    return {
        "devpath": f"/dev/{dev}", "serial": "unknown", "wwn": "unknown", "type": "ssd", "size": 512_110_190_592,
        "model": "A disk", "vendor": "ATA", "rpm": 0, "gpt": 1, "osdid": -1, "osdid-list": None, "health": "UNKNOWN",
        "wearout": "N/A", **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        ([row("nvme0n1", serial="S5GXNX0T1234567")], ["S5GXNX0T1234567"]),
        ([row("sda", serial="WD-WX52DB1E1YGS"), row("sdb", wwn="0x5000cca27d022714")],
         ["WD-WX52DB1E1YGS", "0x5000cca27d022714"]),
        ([row("vda"), row("cciss/c0d0")], ["vda", "cciss-c0d0"]),
        # namespaces of one NVMe
        ([row("nvme1n6", serial="c4d0", wwn="uuid.839747c2-efb9"), row("nvme1n7", serial="c4d0", wwn="uuid.0ed74e63")],
         ["uuid-839747c2-efb9", "uuid-0ed74e63"]),
        # two ways to one disk; USB adapters that give every disk one number
        ([row("sda", serial="5000cca2", wwn="0x5000cca2"), row("sdb", serial="5000cca2", wwn="0x5000cca2")],
         ["5000cca2-sda", "5000cca2-sdb"]),
        ([row("sda", serial="a b/c#+")], ["a-b-c"]),
        ([row("sda", serial="X"), {"devpath": "/dev/sda1", "type": "partition", "serial": "X"}], ["X"]),
        ([row("sda; rm"), {"serial": "X"}, "sda", None], []),
    ],
)  # fmt: skip
def test_ids(rows: list[Any], ids: list[str]) -> None:
    found = disk_rows.listed(rows)
    assert found is not None
    assert list(found) == ids
    for name in ids:
        Topics().build("disk", site="lab", node="pve1", disk=name)


def test_no_list_is_not_an_empty_one() -> None:
    assert disk_rows.listed(None) is None
    assert disk_rows.pools({"data": []}) is None
    assert disk_rows.listed([]) == {}


def state(raw: dict[str, Any], smart: Smart = Smart()) -> DiskState:  # noqa: B008 - it is frozen
    return disk_rows.disk_state("lab", "pve1", "X", raw, smart, unread=None, at="2026-11-21T00:00:00Z")


def test_a_disk() -> None:
    found = state(row("sda", type="hdd", used="ZFS", serial="X", model=" WDC  WD40 "), Smart("PASSED", None, 31.0, 12))
    assert (found.dev, found.type, found.used_by, found.model) == ("sda", "hdd", "ZFS", "WDC WD40")
    assert (found.health, found.wear_pct, found.temperature_c, found.power_on_hours) == ("PASSED", None, 31.0, 12)
    assert state(row("sda", osdid=3, used="LVM")).used_by == "Ceph OSD 3"
    assert {state(row("sda", type=kind)).type for kind in ("usb", "unknown", "")} == {"unknown"}
    assert state(row("sda")).serial is None


@pytest.mark.parametrize(
    ("health", "detail", "expected"),
    [
        ("ONLINE", {"state": "ONLINE", "errors": "No known data errors"}, ("ONLINE", None, None)),
        ("ONLINE", {"state": "ONLINE", "errors": "5 data errors, use '-v' for a list"}, ("ONLINE", "5 data", None)),
        ("DEGRADED", {"state": "DEGRADED", "errors": "No known data errors", "status": "One or more devices"},
         ("DEGRADED", None, "One or more")),
        ("FAULTED", None, ("FAULTED", None, None)),
    ],
)  # fmt: skip
def test_a_pool(health: str, detail: Any, expected: tuple[str, str | None, str | None]) -> None:
    raw = {"name": "rpool", "size": 1000, "alloc": 250, "free": 750, "frag": 4, "dedup": 1, "health": health}
    found = disk_rows.pool_state("lab", "pve1", raw, detail, at=None)
    said = (found.errors and found.errors[:6], found.status and found.status[:11])
    assert (found.health, *said) == expected
    assert (found.used_pct, found.fragmentation_pct) == (25.0, 4.0)


class Sink:
    """What is retained."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def put(self, kind: str, value: Any, **ids: str | int) -> bool:
        self.held[Topics().build(kind, **ids)] = value
        return True

    def drop(self, kind: str, **ids: str | int) -> bool:
        return self.held.pop(Topics().build(kind, **ids), None) is not None


def test_a_disk_that_is_missing_goes_after_some_lists() -> None:
    sink = Sink()
    book = DiskBook("lab", sink)
    one, two = (state(row(dev)).model_copy(update={"disk": dev}) for dev in ("sda", "sdb"))
    assert book.disks.take("pve1", [one, two]) == []
    assert book.disks.take("pve1", [one]) == [two]
    assert sink.held["proxmox/lab/node/pve1/disk/sdb"].available is False
    assert book.disks.take("pve1", [one, two]) == []
    assert sink.held["proxmox/lab/node/pve1/disk/sdb"].available is True
    assert [book.disks.take("pve1", [one]) for _ in range(LISTS)] == [[two], [], []]
    assert set(sink.held) == {"proxmox/lab/node/pve1/disk/sda"}


def test_a_node_that_is_away_and_one_that_left() -> None:
    sink = Sink()
    book = DiskBook("lab", sink)
    book.due["pve1"] = 1e12
    book.disks.take("pve1", [state(row("sda"))])
    book.zpools.take("pve1", [ZfsPoolState(site="lab", node="pve1", pool="rpool", available=True, health="ONLINE")])
    book.look({"pve1": False})
    assert {value.available for value in sink.held.values()} == {False}
    assert book.due["pve1"] == 0, "read at once when it is back"
    book.look({})
    assert sink.held == {}
