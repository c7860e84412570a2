"""10 000 guests: the list is made quickly, and cheaply while nothing is due."""

from __future__ import annotations

import time

from proxmox_mcp.lab import resources
from proxmox_mcp.lab.access import Identity
from tests.lab.conftest import MakeLab

ROOT = Identity("root@pam", "full")


async def test_ten_thousand_guests(make_lab: MakeLab) -> None:
    api = await make_lab(guests=10_000, pvestatd_interval=10)
    rows = await api.get("/cluster/resources", type="vm")
    assert len(rows) == 10_000
    assert {row["type"] for row in rows} == {"qemu", "lxc"}
    assert len({row["vmid"] for row in rows}) == 10_000
    world = api.lab.world
    world.clock.advance(10)
    fresh = _seconds(lambda: resources.listing(world, ROOT, "vm"))
    again = min(_seconds(lambda: resources.listing(world, ROOT, "vm")) for _ in range(3))
    assert again < fresh, "an unchanged list is kept, not made again"


def _seconds(work: object) -> float:
    started = time.perf_counter()
    assert callable(work)
    work()
    return time.perf_counter() - started


async def test_figures_move_with_the_clock(make_lab: MakeLab) -> None:
    api = await make_lab(pvestatd_interval=10)
    before = {row["id"]: row for row in await api.get("/cluster/resources", type="vm")}
    assert {row["id"]: row for row in await api.get("/cluster/resources", type="vm")}.keys() == before.keys()
    api.lab.world.clock.advance(60)
    after = {row["id"]: row for row in await api.get("/cluster/resources", type="vm")}
    running = [key for key, row in before.items() if row["status"] == "running"]
    assert running
    for key in running:
        assert after[key]["uptime"] >= before[key]["uptime"] + 50
        assert after[key]["netin"] > before[key]["netin"]
        assert after[key]["cpu"] != before[key]["cpu"]
        assert 0 <= after[key]["cpu"] <= 1
        assert after[key]["mem"] < after[key]["maxmem"]


async def test_same_seed_same_datacentre(make_lab: MakeLab) -> None:
    def names(api: object) -> list[tuple[int, str, str]]:
        return [(guest.vmid, guest.name, guest.node) for guest in api.lab.world.sorted_guests()]  # type: ignore[attr-defined]

    assert names(await make_lab(seed=7)) == names(await make_lab(seed=7))


async def test_defaults_are_what_the_demo_promises(make_lab: MakeLab) -> None:
    api = await make_lab()
    guests = api.lab.world.sorted_guests()
    assert len(guests) == 24
    assert len(api.lab.api_urls) == 3
    assert {guest.kind for guest in guests} == {"qemu", "lxc"}
    assert {guest.running for guest in guests} == {True, False}
    assert any(guest.template for guest in guests)
    assert any(guest.tags for guest in guests)
    uncovered = {row["vmid"] for row in await api.get("/cluster/backup-info/not-backed-up")}
    assert uncovered
    assert uncovered < {guest.vmid for guest in guests}
