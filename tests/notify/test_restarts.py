"""A node that somebody asked to restart is no fault, whoever asked and through whatever; one that dies is."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mqtt_bridge.actions import Actions
from mqtt_bridge.app import Bridge
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.notifying import silences
from mqtt_bridge.notifying.maintenance import Maintenance, expect_beside
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import PermissionSettings, load
from mqtt_bridge.targets import NodeRef
from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab import Lab, LabOptions
from tests.notify.making import desk
from tests.notify.parts import until
from tests.support.mosquitto import Mosquitto
from tests.support.services import Receiver
from tests.support.watched import fast

# Slow enough that the end of the guests is seen before that of their node, as it is in a real cluster
LAB = LabOptions(nodes=3, guests=9, seed=1, speed=3, pvestatd_interval=0, rrd_timeout=1, auth_delay=0.05,
                 dead_node_delay=0.05)  # fmt: skip


@dataclass
class Scene:
    """A lab, the bridge that watches it, and what its webhook was told."""

    lab: Lab
    bridge: Bridge
    told: Receiver

    def kinds(self) -> list[str]:
        """Of what was told."""
        return [asked.json["kind"] for asked in self.told.asked]

    async def happened(self, kind: str) -> None:
        async with asyncio.timeout(30):
            while not await self.bridge.events.journal.rows("SELECT 1 FROM events WHERE kind = ?", [kind]):
                await asyncio.sleep(0.05)

    async def marker(self) -> None:
        """Whatever was to be told before this is told."""
        assert self.bridge.notify is not None
        count = len(self.told.asked)
        await self.bridge.notify.message("marker", "all before this is told")
        await until(lambda: len(self.told.asked) > count, 30)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(LAB))
        told = Receiver()
        await stack.enter_async_context(told.running())
        broker = await stack.enter_async_context(Mosquitto(tmp_path / "m"))
        settings = load({
            **lab.env,
            "STATE_DIR": str(tmp_path / "state"),
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(broker.port),
            "WEBHOOK_OUT_ENABLED": "true",
            "WEBHOOK_OUT_URL": told.webhook,
            "WEBHOOK_KINDS": "node.*",
            "WEBHOOK_MIN_SEVERITY": "info",
            "NOTIFY_DIGEST_AT": "off",
        }, search=False)  # fmt: skip
        bridge = await stack.enter_async_context(Bridge(fast(settings)))
        await bridge.ready()
        yield Scene(lab, bridge, told)


async def test_one_that_we_restart_ourselves(scene: Scene) -> None:
    """As the action core says it; no sign from Proxmox is needed."""
    await scene.bridge.maintenance.expect("lab", "pve2", "Reboot, asked for by ann (stdio)")
    (silent,) = await scene.bridge.maintenance.active()
    assert (silent.scope, silent.site, silent.target, silent.by) == (
        "node",
        "lab",
        "pve2",
        "Reboot, asked for by ann (stdio)",
    )
    scene.lab.world.power_node(scene.lab.world.nodes["pve2"], up=False, back_after=1.0)
    await scene.happened("node.offline")
    await scene.happened("node.online")
    await scene.marker()
    assert "node.offline" not in scene.kinds()
    assert "node.online" not in scene.kinds(), "who was told nothing is told of no end"


async def test_the_actions_of_every_process_say_so(scene: Scene, tmp_path: Path) -> None:
    """As `stdio` does it beside the bridge: through the bridge's own journal, after Proxmox has accepted it."""
    permission = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
    expecting = partial(expect_beside, tmp_path / "state")
    actions = Actions(scene.bridge.pollers.clients, permission, Audit(tmp_path), expecting=expecting, me=Identity())
    ann = Principal("ann", "stdio", "exec")
    assert (await actions.perform(ann, "node.reboot", NodeRef("pve2"), dry_run=True)).status == "dry_run"
    assert await scene.bridge.maintenance.active() == []
    assert (await actions.perform(ann, "node.reboot", NodeRef("pve2"))).ok
    (silent,) = await scene.bridge.maintenance.active()
    assert (silent.site, silent.target) == ("lab", "pve2")
    assert "ann (stdio)" in silent.by
    await scene.happened("node.offline")
    await scene.happened("node.online")
    await scene.marker()
    assert "node.offline" not in scene.kinds()


async def test_one_that_somebody_else_restarts(scene: Scene) -> None:
    """In the GUI, at the console: Proxmox stops all guests first, as root."""
    node = scene.lab.world.nodes["pve2"]
    await scene.bridge.pollers.clients["lab"].post("nodes", node.name, "status", command="reboot")
    await scene.happened("node.offline")
    await scene.happened("node.online")
    await scene.marker()
    assert "node.offline" not in scene.kinds()


async def test_one_that_dies_is_told(scene: Scene) -> None:
    scene.lab.world.power_node(scene.lab.world.nodes["pve2"], up=False)
    await until(lambda: "node.offline" in scene.kinds(), 30)


def test_a_bulk_stop_long_ago_explains_nothing() -> None:
    it = desk()
    it.on("task.stopall.finished", metadata={"user": "root@pam"})
    it.later(silences.GOING + 1, 30)
    it.on("node.offline")
    assert it.words() == [("event", "node.offline pve1")]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("task.stopall.started", {"metadata": {"user": "ann@pve"}}),
        ("task.stopall.started", {"metadata": {"user": "root@pam"}, "trust": "unauthenticated"}),
        ("task.stopall.started", {"metadata": {"user": "root@pam"}, "node": "pve2"}),
        ("task.startall.started", {"metadata": {"user": "root@pam"}}),
    ],
)
def test_what_is_no_sign_of_a_restart(kind: str, given: dict[str, object]) -> None:
    it = desk()
    it.on(kind, **given)
    it.later(10)
    it.on("node.offline")
    assert ("event", "node.offline pve1") in it.words()


def test_a_node_that_stopped_its_guests_and_stays_away_is_told_in_the_end() -> None:
    it = desk()
    it.on("task.stopall.started", metadata={"user": "root@pam"})
    it.later(20)
    it.on("node.offline")
    it.later(silences.REBOOT - 5, 5)
    assert it.words() == []
    it.later(10)
    assert it.words() == [("digest", "Still wrong after the silence: node.offline pve1")]


async def test_a_process_beside_the_bridge_says_so_in_its_journal(tmp_path: Path) -> None:
    await expect_beside(tmp_path, "lab", "pve1", "nobody is there")
    assert list(tmp_path.iterdir()) == []
    async with Journal(tmp_path / "journal.db") as journal:
        await expect_beside(tmp_path, "lab", "pve1", "Reboot, asked for by ann (stdio)")
        (one,) = await Maintenance(journal).active()
        assert (one.scope, one.site, one.target, one.by) == ("node", "lab", "pve1", "Reboot, asked for by ann (stdio)")


async def test_a_second_restart_gets_its_whole_time(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        old = dataclasses.replace(silences.restart("lab", "pve1", 0), until=time.time() + 30, by="long ago")
        await journal.db.write(lambda connection: silences.add(connection, old))
        await Maintenance(journal).expect("lab", "pve1", "again")
        (one,) = await Maintenance(journal).active()
        assert one.by == "again"
        assert one.until - time.time() > silences.REBOOT - 60
