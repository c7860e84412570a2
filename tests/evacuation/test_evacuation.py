"""Maintenance of a node moves its guests away: by commands to a real bridge, on a real lab and a real Mosquitto."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionResult
from mqtt_bridge.app import Bridge
from mqtt_bridge.approvals.types import Decider
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.evacuation.book import Record
from mqtt_bridge.evacuation.moving import Move, Moves
from mqtt_bridge.model import Evacuation
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.commands.desk import asked
from tests.support.mosquitto import Mosquitto
from tests.support.processes import until
from tests.support.watched import fast

GIB = 2**30
ON = {"MAINTENANCE_EVACUATE": "true", "MQTT_ALLOW": "change"}
Started = Callable[..., AbstractAsyncContextManager[Bridge]]


@dataclass
class Site:
    """A lab whose guests can all move, and somebody who gives commands to its nodes."""

    lab: Lab
    bus: Broker
    got: list[Message] = field(default_factory=list)

    async def order(self, node: str, command: str = "maintenance", **fields: Any) -> dict[str, Any]:
        """To the site, where `node` is empty."""
        one = asked(command, **fields)
        place = f"lab/node/{node}" if node else "lab"
        await self.bus.publish(f"proxmox/{place}/command", json.dumps(one).encode())
        topic = f"proxmox/lab/result/{one['id']}"
        await until(lambda: any(m.topic == topic for m in self.got), why=lambda: self.got)
        answer: dict[str, Any] = next(json.loads(m.payload) for m in self.got if m.topic == topic)
        return answer

    async def evacuate(self, node: str = "pve1", **args: Any) -> dict[str, Any]:
        return await self.order(node, args={"evacuate": True, **args}, who="ann", reason="new memory")

    def running(self, node: str = "pve1") -> set[int]:
        return {g.vmid for g in self.lab.world.guests.values() if g.node == node and g.running}

    def left(self, bridge: Bridge, node: str = "pve1") -> dict[int, str]:
        return {one.vmid: one.why for one in bridge.evacuation.state("lab", node).left}

    def sent(self) -> list[str]:
        return [r.path for r in self.lab.requests if r.method == "POST" and r.path.endswith("/migrate")]

    def free(self, vmid: int, storage: str = "ceph-vm") -> None:
        """Its disks are where every node reaches them."""
        config = self.lab.guest(vmid).config
        config |= {key: value.replace("local-lvm:", f"{storage}:") for key, value in config.items()
                   if key in {"scsi0", "rootfs"}}  # fmt: skip

    def empty(self, node: str, free: int, total: int = 64 * GIB) -> None:
        """A node with that much memory to give, beside what it must keep."""
        one = self.lab.world.nodes[node]
        one.memory = total
        one.load = replace(one.load, memory=1 - (free + max(GIB, total // 20)) / total)


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
async def site(mosquitto: Mosquitto) -> AsyncIterator[Site]:
    options = LabOptions(guests=13, speed=20, pvestatd_interval=0, auth_delay=0.05, pbs=0)
    got: list[Message] = []
    async with Lab(options) as lab, Broker(mosquitto.options, got.extend) as bus:
        await bus.wait_connected()
        await bus.subscribe(["proxmox/+/result/#"], qos=1)
        site = Site(lab, bus, got)
        for guest in lab.world.guests.values():
            site.free(guest.vmid)
        yield site


@pytest.fixture
def bridge(site: Site, mosquitto: Mosquitto, tmp_path: Path) -> Started:
    env = {"STATE_DIR": str(tmp_path / "state"), "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}

    @asynccontextmanager
    async def start(**more: str) -> AsyncIterator[Bridge]:
        async with Bridge(fast(load({**site.lab.env, **env, **ON, **more}, search=False))) as running:
            await running.ready()
            await until(lambda: running.commands is not None and running.commands.listening)
            yield running

    return start


def audit(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "state" / "audit.jsonl"
    assert verify(path).ok
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def ended(bridge: Bridge, state: str, node: str = "pve1") -> None:
    def now() -> Any:
        return bridge.evacuation.state("lab", node)

    await until(lambda: now().state == state, seconds=60, why=now)


async def test_all_guests_move_and_the_end_brings_nothing_back(site: Site, bridge: Started, tmp_path: Path) -> None:
    here = site.running()
    assert len(here) >= 3
    ha = next(vmid for vmid in sorted(here) if site.lab.guest(vmid).kind == "qemu")
    async with bridge() as running:
        plan = (await site.order("pve1", args={"evacuate": True}, dry_run=True))["details"]
        assert ({one["vmid"] for one in plan["moves"]}, plan["left"]) == (here, [])
        assert (site.sent(), site.running()) == ([], here)
        answer = await site.evacuate()
        assert (answer["status"], answer["ok"]) == ("done", True), answer
        await ended(running, "done")
        assert site.running() == set()
        state = running.evacuation.state("lab", "pve1")
        assert (set(state.moved), state.left) == (here, ())
        held = running.pollers.retained
        topic = held.names.build("node_upkeep", site="lab", node="pve1")
        await until(lambda: json.loads(held.held[topic][0])["evacuation"]["state"] == "done")
        assert all(site.lab.guest(vmid).running for vmid in here)
        await site.order("pve1", "maintenance_end")
        await ended(running, "idle")
        assert (site.running(), len(site.sent())) == (set(), len(here))
        assert running.evacuation.state("lab", "pve1") == Evacuation(), "nothing stale"
        stored = await running.events.journal.db.read(
            lambda c: [
                row[0] for row in c.execute("SELECT kind FROM events WHERE kind LIKE 'maintenance.%' ORDER BY seq")
            ]
        )
        assert stored == ["maintenance.started", "maintenance.evacuation.started", "maintenance.evacuation.finished",
                          "maintenance.ended"]  # fmt: skip
    lines = [one for one in audit(tmp_path) if one["event"] == "action.outcome"]
    assert {one["guests"][0] for one in lines} == here
    assert {(one["channel"], one["ok"]) for one in lines} == {("mqtt", True)}
    assert lines[0]["reason_given"] == "evacuation of pve1: ann (MQTT): new memory"
    assert ha in here


async def test_what_cannot_move_is_named_and_the_others_go(site: Site, bridge: Started, tmp_path: Path) -> None:
    """A local disk, a device, the policy, memory that is nowhere, a migration that fails: each for one guest."""
    site.lab.world.guests[9000].node = "pve2"
    machines = sorted(vmid for vmid in site.running() if site.lab.guest(vmid).kind == "qemu")
    for vmid in sorted(site.running("pve2") | site.running("pve3")):
        if len(machines) < 6 and site.lab.guest(vmid).kind == "qemu":
            site.lab.guest(vmid).node = "pve1"
            site.lab.world.moved(site.lab.guest(vmid))
            machines.append(vmid)
    disk, device, policy, large, fails, fine = machines[:6]
    site.lab.guest(disk).config["scsi0"] = f"local-lvm:vm-{disk}-disk-0,size=8G"
    site.lab.guest(device).config["hostpci0"] = "0000:01:00"
    site.lab.guest(policy).config["tags"] = "prod;spared"
    site.lab.guest(large).config["memory"] = str(100 * 1024)
    site.lab.guest(fails).config["memory"] = str(20 * 1024)  # so that it is the first that is tried
    site.lab.world.ha.clear()
    here = site.running()
    async with bridge(PROXMOX_PROTECTED_TAGS="spared") as running:
        site.lab.fault("task-fail", "qmigrate", "migration aborted")
        await site.evacuate()
        await ended(running, "incomplete")
        left = site.left(running)
        assert set(left) == {disk, device, policy, large, fails} == site.running(), left
        assert "scsi0 on local-lvm" in left[disk]
        assert "`args.local_disks: true`" in left[disk]
        assert "hostpci0" in left[device]
        assert "protected by the tag 'spared'" in left[policy]
        assert "it needs 100.0 GiB" in left[large]
        assert "migration aborted" in left[fails]
        assert fine in running.evacuation.state("lab", "pve1").moved
        assert set(running.evacuation.state("lab", "pve1").moved) == here - set(left)
        await site.evacuate(local_disks=True)
        await until(lambda: site.running() == {device, large, policy}, seconds=60, why=lambda: site.left(running))
        await ended(running, "incomplete")
    refused = [one["target"] for one in audit(tmp_path) if one["event"] == "action.refused"]
    assert any(str(policy) in one for one in refused)


async def test_the_roomiest_node_is_chosen_each_time(site: Site, bridge: Started) -> None:
    """Never one in maintenance, without the storage, outside the allow-list or offline; and what came counts."""
    guests = sorted(site.running())
    for vmid in guests:
        site.lab.guest(vmid).config["memory"] = str(16 * 1024) if vmid == guests[0] else "512"
    site.empty("pve2", 30 * GIB)
    site.empty("pve3", 20 * GIB)
    first = site.lab.guest(guests[0])
    others = [site.lab.guest(vmid) for vmid in guests[1:]]
    async with bridge() as running:
        await site.evacuate()
        await ended(running, "done")
        assert first.node == "pve2"
        assert {one.node for one in others} == {"pve3"}, "pve2 has 14 GiB to give now, whatever its figures say"
        await site.order("pve1", "maintenance_end")
    for one in (first, *others):
        one.node = "pve1"
        site.lab.world.moved(one)
    async with bridge(PROXMOX_NODE_ALLOWLIST="pve1,pve3") as running:
        await site.evacuate()
        await ended(running, "done")
        assert {one.node for one in (first, *others)} == {"pve3"}
        await site.order("pve1", "maintenance_end")
        await site.order("pve2", "maintenance")
        answer = await site.order("pve2", args={"evacuate": True})
        assert (answer["refused"], "PROXMOX_NODE_ALLOWLIST" in answer["message"]) == ("policy", True), answer
        await site.order("pve3", "maintenance")
        site.lab.guest(guests[0]).node = "pve1"
        site.lab.world.moved(first)
        await site.evacuate()
        await ended(running, "incomplete")
        assert "no other node" in site.left(running)[guests[0]]


async def test_switched_off_in_the_middle(site: Site, bridge: Started) -> None:
    here = site.running()
    site.lab.options = site.lab.world.options
    async with bridge() as running:
        for vmid in sorted(here)[1:]:
            site.lab.fault("guest-lock", str(vmid), "migrate")  # somebody else's: it is waited for
        await site.evacuate()
        await until(lambda: len(site.running()) == len(here) - 1)
        await until(lambda: "is locked (migrate)" in running.evacuation.state("lab", "pve1").message)
        await site.order("pve1", "maintenance_end")
        await ended(running, "idle")
        for vmid in sorted(here)[1:]:
            site.lab.fault("guest-unlock", str(vmid))
        await asyncio.sleep(1.5)  # longer than the pause between two looks
        assert site.running() == set(sorted(here)[1:])
        assert len(site.sent()) == 1
        assert running.evacuation.state("lab", "pve1") == Evacuation()


async def test_a_shutdown_of_the_site_ends_it_and_lets_none_begin(site: Site, bridge: Started) -> None:
    here = sorted(site.running())
    async with bridge(MQTT_ALLOW="destroy", SITE_SHUTDOWN="true") as running:
        site.lab.fault("guest-deaf", str(here[-1]))
        for vmid in here[1:]:
            site.lab.fault("guest-lock", str(vmid), "migrate")
        await site.evacuate()
        await until(lambda: "is locked (migrate)" in running.evacuation.state("lab", "pve1").message)
        moved = site.sent()
        refused = await site.order("", "shutdown", args={"colour": "red"})
        assert refused["refused"] == "wrong"
        assert running.evacuation.state("lab", "pve1").state == "running", "a shutdown that is refused ends nothing"
        begun = await site.order("", "shutdown", args={"nodes": False})
        assert begun["status"] == "started", begun
        await ended(running, "incomplete")
        assert running.evacuation.state("lab", "pve1").message.startswith("The site is being shut down: 1 guest moved")
        assert site.left(running) == dict.fromkeys(here[1:], "The site is being shut down.")
        for vmid in here[1:]:
            site.lab.fault("guest-unlock", str(vmid))
        await until(lambda: site.running() <= {here[-1]}, seconds=60, why=site.running)
        for node in ("pve1", "pve2"):
            answer = await site.evacuate(node)
            assert (answer["refused"], "being shut down" in answer["message"]) == ("not_possible", True), answer
        assert [s.target for s in await running.maintenance.active() if s.scope == "node"] == ["pve1"], "not noted"
        await site.order("", "shutdown_abort")
        answer = await site.evacuate()
        assert answer["ok"], answer
        await ended(running, "done")
        assert [path for path in site.sent() if f"/{here[-1]}/" not in path] == moved


async def test_the_migration_that_runs_is_the_last_even_if_the_shutdown_is_aborted(
    site: Site, bridge: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, go, real = site.running(), asyncio.Event(), Moves.migrate

    async def held(self: Moves, record: Record, move: Move, *, dry_run: bool = False) -> ActionResult:
        result = await real(self, record, move, dry_run=dry_run)
        await go.wait()
        return result

    monkeypatch.setattr(Moves, "migrate", held)
    first = min(site.running("pve2"))
    site.lab.guest(first).config["tags"] = "first"
    site.lab.fault("guest-deaf", str(first))  # so that the guests of pve1 are not asked yet
    async with bridge(MQTT_ALLOW="destroy", SITE_SHUTDOWN="true") as running:
        await site.evacuate()
        await until(lambda: len(site.running()) == len(here) - 1)
        begun = await site.order("", "shutdown", args={"stages": ["first"], "nodes": False})
        assert begun["status"] == "started", begun
        assert (await site.order("", "shutdown_abort"))["ok"]
        go.set()
        await ended(running, "incomplete")
        (moved,) = here - site.running()
        assert running.evacuation.state("lab", "pve1").moved == (moved,)
        assert set(site.left(running)) == here - {moved}
        assert len(site.sent()) == 1


async def test_a_restart_in_the_middle(site: Site, bridge: Started) -> None:
    here = site.running()
    slow = max(here)
    async with bridge() as running:
        site.lab.fault("guest-lock", str(slow), "migrate")
        await site.evacuate()
        await until(lambda: site.running() == {slow}, seconds=60)
    async with bridge() as running:
        assert running.evacuation.state("lab", "pve1").state == "running"
        site.lab.fault("guest-unlock", str(slow))
        await ended(running, "done")
        assert set(running.evacuation.state("lab", "pve1").moved) == here
    async with bridge(MAINTENANCE_EVACUATE="false") as running:
        assert running.evacuation.state("lab", "pve1").state == "done"
        answer = await site.evacuate()
        assert (answer["refused"], "MAINTENANCE_EVACUATE" in answer["hint"]) == ("policy", True)


async def test_a_person_approves(site: Site, bridge: Started) -> None:
    here = site.running()
    key = sha256(b"a long secret").hexdigest()
    async with bridge(APPROVAL_REQUIRED="change", APPROVERS=f"alice:sha256:{key}") as running:
        await site.evacuate()
        await until(lambda: set(site.left(running)) == here, seconds=60, why=lambda: site.left(running))
        assert running.evacuation.state("lab", "pve1").state == "running"
        asked_for = await running.approvals.pending()
        assert (len(asked_for), site.sent()) == (len(here), [])
        no, *rest = asked_for
        for one in asked_for:
            await running.approvals.decide(one.id, "reject" if one is no else "approve", Decider("alice", "secret"))
        await ended(running, "incomplete")
        (left,) = site.left(running)
        assert str(left) in no.target
        assert site.running() == {left}
        assert len(site.sent()) == len(rest)


@pytest.mark.parametrize(
    ("level", "wrong"),
    [
        ("operate", {("pve1", "policy"): {"evacuate": True}}),
        (
            "change",
            {
                ("nowhere", "unknown_target"): {"evacuate": True},
                ("pve1", "wrong"): {"evacuate": "yes"},
                ("pve2", "wrong"): {"local_disks": True},
            },
        ),
    ],
)
async def test_refused(site: Site, bridge: Started, level: str, wrong: dict[tuple[str, str], dict[str, Any]]) -> None:
    async with bridge(MQTT_ALLOW=level) as running:
        for (node, code), args in wrong.items():
            answer = await site.order(node, args=args)
            assert answer["refused"] == code, answer
        assert await running.maintenance.active() == []
        assert site.sent() == []


@pytest.mark.parametrize(
    ("faults", "state"), [(["token-strip"], "incomplete"), (["node-down pve1", "clock-forward 600"], "running")]
)
async def test_what_is_not_seen_is_not_said_to_have_gone(
    site: Site, bridge: Started, faults: list[str], state: str
) -> None:
    """A token that lost its rights sees empty lists, a node that does not tell has guests that are `unknown`."""
    here = site.running()
    stuck = next(vmid for vmid in sorted(here) if f"vm:{vmid}" not in site.lab.world.ha)
    site.lab.fault("guest-lock", str(stuck), "migrate")
    async with bridge() as running:
        await site.evacuate()
        await until(lambda: site.running() == {stuck}, seconds=60)
        await until(lambda: "is locked" in running.evacuation.state("lab", "pve1").message)
        for fault in faults:
            site.lab.fault(*fault.split())

        def told() -> str:
            return running.evacuation.state("lab", "pve1").message + site.left(running).get(stuck, "")

        await until(lambda: "not say whether" in told() or "not listed" in told(), seconds=60, why=told)
        assert running.evacuation.state("lab", "pve1").state == state


async def test_two_nodes_at_once_do_not_fill_a_third(
    site: Site, bridge: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on its way to a node counts there, whoever sends it."""
    go, sent, real = asyncio.Event(), list[int](), Moves.migrate
    site.lab.world.ha.clear()
    one, other = min(site.running("pve1")), min(site.running("pve2"))
    for guest in site.lab.world.guests.values():
        if guest.vmid in {one, other}:
            guest.config["memory"] = str(8 * 1024)
        elif guest.node in {"pve1", "pve2"} and guest.running:
            site.lab.fault("guest-crash", str(guest.vmid))
    site.empty("pve3", 12 * GIB)

    async def held(self: Moves, record: Record, move: Move, *, dry_run: bool = False) -> ActionResult:
        if not dry_run:
            sent.append(move.guest.vmid)
            await go.wait()
        return await real(self, record, move, dry_run=dry_run)

    monkeypatch.setattr(Moves, "migrate", held)
    async with bridge() as running:
        for node in ("pve1", "pve2"):
            await site.order(node)
        for node in ("pve1", "pve2"):
            await site.evacuate(node)
        states = running.evacuation.state
        await until(lambda: len(sent) > 1 or any(states("lab", n).state == "incomplete" for n in ("pve1", "pve2")), 60)
        go.set()
        assert len(sent) == 1, "only one of them fits"


async def test_said_again_it_tries_once_more_while_it_waits(site: Site, bridge: Started) -> None:
    """A guest that stays says what it takes; who does that need not wait for another guest's lock."""
    here = site.running()
    disk, stuck = sorted(vmid for vmid in here if site.lab.guest(vmid).kind == "qemu")[:2]
    site.lab.guest(disk).config["scsi0"] = f"local-lvm:vm-{disk}-disk-0,size=8G"
    site.lab.fault("guest-lock", str(stuck), "migrate")
    async with bridge() as running:
        await site.evacuate()
        await until(lambda: site.running() == {disk, stuck}, seconds=60)
        await until(lambda: "args.local_disks" in site.left(running).get(disk, ""))
        assert running.evacuation.state("lab", "pve1").state == "running"
        await site.evacuate(local_disks=True)
        await until(lambda: site.running() == {stuck}, seconds=20, why=lambda: site.left(running))


async def test_a_maintenance_without_it_does_not_go_on_with_the_one_before(
    site: Site, bridge: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, go, real = site.running(), asyncio.Event(), Moves.migrate

    async def held(self: Moves, record: Record, move: Move, *, dry_run: bool = False) -> ActionResult:
        result = await real(self, record, move, dry_run=dry_run)
        await go.wait()
        return result

    monkeypatch.setattr(Moves, "migrate", held)
    async with bridge() as running:
        await site.evacuate()
        await until(lambda: len(site.running()) == len(here) - 1)
        await site.order("pve1", "maintenance_end")
        await ended(running, "idle")
        await site.order("pve1")
        go.set()
        await asyncio.sleep(1.5)  # longer than the pause between two looks
        assert (len(site.sent()), running.evacuation.state("lab", "pve1").state) == (1, "idle")
