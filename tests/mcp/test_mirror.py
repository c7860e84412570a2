"""The mirror on the loopback: what it takes, what it refuses, when it calls itself complete."""

import asyncio
import time

import pytest

from mqtt_bridge.model import GuestState, Manifest
from mqtt_bridge.mqtt.loopback import Loopback
from proxmox_mcp.mirror import Mirror
from proxmox_mcp.store import Key
from proxmox_mcp.view import View
from tests.mcp.conftest import Eventually
from tests.support.site import METRICS, Site


async def filled(mirror: Mirror) -> None:
    async with asyncio.timeout(15):
        await mirror.filled.wait()


async def test_everything_listed_is_mirrored(hub: Loopback, site: Site) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        assert mirror.complete
        view = View(mirror, "mqtt")
        assert [g.state.vmid for g in view.guests()] == list(site.vmids)
        assert [n.state.node for n in view.nodes()] == list(site.node_names)
        assert {s.storage for s in view.storages()} == {"local", "nfs"}


async def test_figures_belong_to_their_guest(hub: Loopback, site: Site) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        view = View(mirror, "mqtt")
        assert view.guest(100).metrics == METRICS
        assert view.guest(103).metrics is None


async def test_a_missing_guest_makes_it_incomplete_until_it_comes(
    hub: Loopback, site: Site, eventually: Eventually
) -> None:
    await site.put("manifest", site.manifest(guests=(*site.vmids, 500)))
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        assert not mirror.complete
        assert mirror.store.missing == {("lab", "guest", "500")}
        assert not View(mirror, "mqtt").freshness(["lab"]).complete
        await site.put("guest", site.guest(500), vmid=500)
        await eventually(lambda: mirror.complete)


async def test_what_no_manifest_lists_is_not_shown(hub: Loopback, site: Site) -> None:
    await site.put("guest", site.guest(666), vmid=666)
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        assert 666 not in [g.state.vmid for g in View(mirror, "mqtt").guests()]


async def test_an_incomplete_manifest_hides_nothing(hub: Loopback, site: Site) -> None:
    await site.put("guest", site.guest(666), vmid=666)
    await site.put("manifest", site.manifest(complete=False))
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        view = View(mirror, "mqtt")
        assert 666 in [g.state.vmid for g in view.guests()]
        seen = view.freshness(["lab"])
        assert not seen.complete
        assert "hides something" in " ".join(seen.notes)


@pytest.mark.parametrize(
    "payload",
    [
        b"garbage",
        b"{}",
        b'{"vmid":100}',
        b"\xff\xfe",
        b"[" * 2000,
        GuestState(site="lab", vmid=101, type="qemu", name="x", node="n", status="running", available=True).payload(),
        GuestState(site="other", vmid=100, type="qemu", name="x", node="n", status="running", available=True).payload(),
    ],
)
async def test_the_last_good_payload_stays(hub: Loopback, site: Site, eventually: Eventually, payload: bytes) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        await site.put("guest", payload, vmid=100)
        await eventually(lambda: mirror.store.stats["invalid"] == 1)
        assert View(mirror, "mqtt").guest(100).state.name == "guest100"


async def test_a_first_payload_that_is_invalid_is_no_guest(hub: Loopback, site: Site) -> None:
    await site.put("guest", b'{"lock":null}', vmid=100)
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        assert 100 not in [g.state.vmid for g in View(mirror, "mqtt").guests()]
        assert mirror.store.stats["invalid"] == 1
        assert not mirror.complete


async def test_an_oversized_payload_is_not_taken(hub: Loopback, site: Site, eventually: Eventually) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        await site.put("guest", site.guest(100, name="x" * 70_000), vmid=100)
        await eventually(lambda: mirror.store.stats["oversized"] == 1)
        assert View(mirror, "mqtt").guest(100).state.name == "guest100"


async def test_a_flood_of_strangers_does_not_push_the_listed_out(
    hub: Loopback, site: Site, eventually: Eventually
) -> None:
    for vmid in range(1000, 1300):
        await site.put("guest", site.guest(vmid), vmid=vmid)
    async with Mirror(hub.client, max_topics=150) as mirror:
        await filled(mirror)
        assert [g.state.vmid for g in View(mirror, "mqtt").guests()] == list(site.vmids)
        assert len(mirror.store.topics) <= 150
        assert mirror.complete
        assert mirror.store.stats["dropped"] > 0


async def test_the_bytes_are_bounded_and_what_is_dropped_is_told(hub: Loopback, site: Site) -> None:
    async with Mirror(hub.client, max_bytes=4000) as mirror:
        await filled(mirror)
        assert mirror.store.size <= 4000
        assert mirror.store.size == sum(len(e.raw) for e in mirror.store.topics.values())
        assert not mirror.complete


async def test_a_manifest_with_names_no_topic_can_have_is_survived(hub: Loopback, site: Site) -> None:
    await site.put("manifest", Manifest(generation=2, nodes=("#", "a/b"), guests=(), storages=("+/x/y",)))
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        assert not mirror.complete


async def test_a_cleared_topic_is_forgotten(hub: Loopback, site: Site, eventually: Eventually) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        await site.clear("guest", vmid=100)
        await site.put("manifest", site.manifest(guests=site.vmids[1:]))
        await eventually(lambda: 100 not in [g.state.vmid for g in View(mirror, "mqtt").guests()])
        assert mirror.complete


async def test_a_site_that_comes_later_is_filled_too(hub: Loopback, site: Site, eventually: Eventually) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        await Site(site.bus, slug="other", guests=5).publish()
        await eventually(lambda: len(list(View(mirror, "mqtt").guests("other"))) == 5)
        await eventually(lambda: mirror.complete)


async def test_changes_are_told_and_repetitions_are_not(hub: Loopback, site: Site, eventually: Eventually) -> None:
    changed: list[Key] = []
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        mirror.on_change.append(changed.extend)
        await site.put("guest", site.guest(100), vmid=100)
        await site.put("guest", site.guest(100, status="stopped"), vmid=100)
        await eventually(lambda: changed)
        assert changed == [("lab", "guest", "100")]


async def test_locks_are_dated_when_first_seen(hub: Loopback, site: Site, eventually: Eventually) -> None:
    await site.put("guest", site.guest(100, lock="backup"), vmid=100)
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        lock, at = mirror.store.locked_since["lab", 100]
        assert lock == "backup"
        assert at == pytest.approx(time.time(), abs=10)
        await site.put("guest", site.guest(100, lock="backup", name="renamed"), vmid=100)
        await site.put("guest", site.guest(101), vmid=101)
        await eventually(lambda: View(mirror, "mqtt").guest(100).state.name == "renamed")
        assert mirror.store.locked_since["lab", 100] == ("backup", at)
        await site.put("guest", site.guest(100), vmid=100)
        await eventually(lambda: ("lab", 100) not in mirror.store.locked_since)


async def test_age_counts_from_the_poll_and_forgives_a_wrong_clock(hub: Loopback, site: Site) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        view = View(mirror, "mqtt")
        assert view.age("lab") == pytest.approx(1, abs=2)
        await site.beat(ago=7200)  # live, sent now by a bridge whose clock is two hours behind
        await asyncio.sleep(0.05)
        assert view.age("lab") == pytest.approx(0, abs=2)


async def test_a_stored_heartbeat_of_long_ago_is_old(hub: Loopback, site: Site) -> None:
    await site.beat(ago=500)
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        seen = View(mirror, "mqtt").freshness(["lab"])
        assert seen.age_s == pytest.approx(500, abs=3)
        assert seen.stale


@pytest.mark.parametrize(
    ("kind", "value", "note"), [("site_state", "offline", "does not answer"), ("bridge_state", "offline", "is offline")]
)
async def test_stale_says_why(
    hub: Loopback, site: Site, eventually: Eventually, *, kind: str, value: str, note: str
) -> None:
    async with Mirror(hub.client) as mirror:
        await filled(mirror)
        view = View(mirror, "mqtt")
        assert not view.freshness(["lab"]).stale
        await site.put(kind, value)
        await eventually(lambda: view.freshness(["lab"]).stale)
        assert note in " ".join(view.freshness(["lab"]).notes)
