"""Commands over MQTT to a real bridge, on a real lab and a real Mosquitto: what became of the guest counts."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.app import Bridge
from mqtt_bridge.approvals.types import Decider
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.commands.desk import asked
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, environment, until
from tests.support.watched import fast

Started = Callable[..., AbstractAsyncContextManager[Bridge]]


@dataclass
class Sender:
    """Gives commands as anybody on the broker may, and keeps the results."""

    bus: Broker
    got: list[Message] = field(default_factory=list)

    async def order(self, command: str, topic: str, *, site: str = "lab", **fields: Any) -> dict[str, Any]:
        return await self.send(asked(command, **fields), topic, site)

    async def send(self, one: dict[str, Any], topic: str, site: str = "lab") -> dict[str, Any]:
        before = len(self.answers(one["id"], site))
        await self.bus.publish(f"proxmox/{site}/{topic}/command", json.dumps(one).encode())
        await until(lambda: len(self.answers(one["id"], site)) > before, why=lambda: self.got)
        return self.answers(one["id"], site)[before]

    def answers(self, identity: str, site: str = "lab") -> list[dict[str, Any]]:
        return [json.loads(m.payload) for m in self.got if m.topic == f"proxmox/{site}/result/{identity}"]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(LabOptions(speed=20, pvestatd_interval=0, auth_delay=0.05)) as running:
        yield running


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto", config=["log_type all"]) as running:
        yield running


@pytest.fixture
async def sender(mosquitto: Mosquitto) -> AsyncIterator[Sender]:
    got: list[Message] = []
    async with Broker(mosquitto.options, got.extend) as bus:
        await bus.wait_connected()
        await bus.subscribe(["proxmox/+/result/#"], qos=1)
        yield Sender(bus, got)


@pytest.fixture
def bridge(lab: Lab, mosquitto: Mosquitto, tmp_path: Path) -> Started:
    """A bridge of the lab that has polled it once and listens to commands."""
    env = {"STATE_DIR": str(tmp_path / "state"), "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}

    @asynccontextmanager
    async def start(**more: str) -> AsyncIterator[Bridge]:
        async with Bridge(fast(load({**lab.env, **env, **more}, search=False))) as running:
            await running.ready()
            if running.settings.permission.mqtt_allow != "read":
                await until(lambda: running.commands is not None and running.commands.listening)
            yield running

    return start


def records(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "state" / "audit.jsonl"
    assert verify(path).ok
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def pick(lab: Lab, *, running: bool) -> int:
    guests = lab.world.sorted_guests()
    return next(g.vmid for g in guests if g.running == running and not g.template and not g.lock)


def writes(lab: Lab) -> list[str]:
    return [r.path for r in lab.requests if r.method != "GET"]


async def test_a_guest_is_really_started_and_its_task_answered_for(
    lab: Lab, bridge: Started, sender: Sender, tmp_path: Path
) -> None:
    vmid = pick(lab, running=False)
    async with bridge(MQTT_COMMANDS="true") as running:
        answer = await sender.order("start", f"guest/{vmid}", reason="morning", who="ann")
        assert lab.guest(vmid).running
        said = {name: answer[name] for name in ("ok", "status", "changed", "exitstatus", "state_before", "state_after")}
        assert said == {"ok": True, "status": "done", "changed": True, "exitstatus": "OK", "state_before": "stopped",
                        "state_after": "running"}  # fmt: skip
        assert answer["upid"].startswith("UPID:")
        state = running.pollers.retained.held[running.pollers.retained.names.build("guest", site="lab", vmid=vmid)]
        assert json.loads(state[0])["status"] == "running", "and MQTT has it at once"
        await sender.bus.publish(f"proxmox/lab/guest/{vmid}/command", b"shutdown")
        await until(lambda: not lab.guest(vmid).running)
        await until(lambda: len(sender.got) == 2)
        assert running.info().commands == {"received": 2, "done": 2}
    events = [record["event"] for record in records(tmp_path)]
    assert events == ["command.received", "action.intent", "action.outcome"] * 2
    assert records(tmp_path)[0]["claims"] == {"who": "ann", "reason": "morning"}
    assert {r["channel"] for r in records(tmp_path) if r["event"].startswith("action.")} == {"mqtt"}


@pytest.mark.parametrize("more", [{}, {"MQTT_COMMANDS": "false"}, {"MQTT_ALLOW": "read", "MCP_ALLOW": "exec"}])
async def test_without_it_nobody_listens(
    lab: Lab, bridge: Started, sender: Sender, mosquitto: Mosquitto, more: dict[str, str]
) -> None:
    vmid = pick(lab, running=False)
    async with bridge(**more) as running:
        assert "proxmox-mcp-bridge-" in mosquitto.log
        assert "proxmox-mcp-commands-" not in mosquitto.log
        await sender.bus.publish(f"proxmox/lab/guest/{vmid}/command", b"start")
        assert running.commands is None
        await asyncio.sleep(0.5)
    assert (lab.guest(vmid).running, writes(lab), sender.got) == (False, [], [])


async def test_the_policy_judges_as_anywhere(lab: Lab, bridge: Started, sender: Sender, tmp_path: Path) -> None:
    up, down = pick(lab, running=True), pick(lab, running=False)
    async with bridge(MQTT_COMMANDS="true", PROXMOX_VMID_ALLOWLIST=str(up)) as running:
        orders: tuple[tuple[str, dict[str, Any]], ...] = (("stop", {}), ("shutdown", {"force": True}))
        for command, more in orders:
            refused = await sender.order(command, f"guest/{up}", **more)
            assert (refused["status"], refused["refused"], refused["ok"]) == ("refused", "policy", False)
            assert "MQTT_ALLOW=change" in refused["hint"]
        outside = await sender.order("start", f"guest/{down}")
        assert (outside["refused"], "PROXMOX_VMID_ALLOWLIST" in outside["hint"]) == ("policy", True)
        unknown = await sender.order("start", "guest/99999")
        assert unknown["refused"] == "unknown_target"
        assert running.info().commands == {"received": 4, "refused.policy": 3, "refused.unknown_target": 1}
    assert writes(lab) == []
    assert (lab.guest(up).running, lab.guest(down).running) == (True, False)
    assert [r["event"] for r in records(tmp_path)].count("action.refused") == 3


async def test_a_task_that_fails_is_no_success(lab: Lab, bridge: Started, sender: Sender) -> None:
    vmid = pick(lab, running=False)
    async with bridge(MQTT_COMMANDS="true"):
        kind = "qmstart" if lab.guest(vmid).kind == "qemu" else "vzstart"
        lab.fault("task-fail", kind, "no space left on device")
        answer = await sender.order("start", f"guest/{vmid}")
        assert (answer["ok"], answer["status"], answer["state_after"]) == (False, "failed", "stopped")
        assert "no space left on device" in answer["exitstatus"]
        assert answer["log_tail"]
        wrong = await sender.order("start", f"guest/{vmid}", args={"colour": "red"})
        assert (wrong["refused"], "colour" in wrong["message"]) == ("not_possible", True)


async def test_a_dry_run_sends_nothing(lab: Lab, bridge: Started, sender: Sender) -> None:
    vmid = pick(lab, running=False)
    async with bridge(MQTT_COMMANDS="true"):
        answer = await sender.order("start", f"guest/{vmid}", dry_run=True)
    assert (answer["status"], answer["allowed"], len(answer["calls"])) == ("dry_run", True, 1)
    assert answer["calls"][0]["path"].endswith(f"/{vmid}/status/start")
    assert (writes(lab), lab.guest(vmid).running) == ([], False)


async def test_a_node_and_maintenance_of_it(lab: Lab, bridge: Started, sender: Sender) -> None:
    async with bridge(MQTT_COMMANDS="true") as running:
        awake = await sender.order("wakeonlan", "node/pve1")
        assert (awake["ok"], awake["changed"]) == (True, False)
        begun = await sender.order("maintenance", "node/pve1", args={"duration": "10m"})
        assert (begun["ok"], "spelt" in begun["message"]) == (True, False)
        odd = await sender.order("maintenance", "node/pve7")
        assert (odd["ok"], "spelt" in odd["message"]) == (True, True), "it may be away; who mistyped is told"
        async with asyncio.timeout(10):
            while not [e for e in await running.events.journal.recent(0, 1000) if e.kind == "maintenance.started"]:
                await asyncio.sleep(0.05)
    assert writes(lab) == []


async def test_what_needs_an_approval_is_asked_again_with_it_and_goes_once(
    lab: Lab, bridge: Started, sender: Sender
) -> None:
    key = sha256(b"alice-secret").hexdigest()
    async with bridge(MQTT_ALLOW="destroy", APPROVERS=f"alice:sha256:{key}") as running:
        asking = await sender.order("reboot", "node/pve2", reason="kernel", who="ann")
        assert (asking["ok"], asking["status"], asking["approval"]["approvers"]) == (
            False, "approval_required", ["alice"]
        )  # fmt: skip
        given = asking["approval"]["id"]
        assert given in asking["hint"]
        early = await sender.order("reboot", "node/pve2", approval=given)
        assert (early["status"], early["approval"]["id"]) == ("approval_required", given)
        assert writes(lab) == []
        pending = await running.approvals.get(given)
        assert pending is not None
        assert (pending.reason, pending.principal) == ("ann: kernel", "mqtt")
        await running.approvals.decide(given, "approve", Decider("alice", "secret"))
        done = await sender.order("reboot", "node/pve2", approval=given)
        assert (done["ok"], done["status"]) == (True, "started")
        assert writes(lab) == ["/nodes/pve2/status"]
        again = await sender.order("reboot", "node/pve2", approval=given)
        assert again["ok"] is False, "it was used, and the node is going down"
        other = await sender.order("reboot", "node/pve3", approval="0" * 32)
        assert (other["ok"], other["refused"]) == (False, "policy")
        assert len(writes(lab)) == 1


async def test_an_id_outlives_the_bridge(lab: Lab, bridge: Started, sender: Sender) -> None:
    vmid, one = pick(lab, running=False), asked("start")
    async with bridge(MQTT_COMMANDS="true"):
        assert (await sender.send(one, f"guest/{vmid}"))["ok"] is True
    async with bridge(MQTT_COMMANDS="true"):
        assert (await sender.send({**one, "command": "shutdown"}, f"guest/{vmid}"))["refused"] == "repeated"
    assert lab.guest(vmid).running


async def test_killed_in_the_middle_it_is_not_done_again(mosquitto: Mosquitto, sender: Sender, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(LabOptions(speed=0.1, pvestatd_interval=0, auth_delay=0.05)))
        env = environment(
            **lab.env, STATE_DIR=str(tmp_path / "state"), MQTT_HOST="127.0.0.1", MQTT_PORT=str(mosquitto.port),
            MQTT_COMMANDS="true", POLL_INTERVAL="0.5",
        )  # fmt: skip
        running = await stack.enter_async_context(Command(tmp_path / "run", "mqtt-bridge", "run", env=env))
        vmid, one = pick(lab, running=True), asked("reboot", progress=True)
        await listens(mosquitto, 1)
        first = await sender.send(one, f"guest/{vmid}")
        assert first["status"] == "accepted"
        assert "follows" in first["message"]  # nothing has been carried out yet
        await until(lambda: len(writes(lab)) == 1)
        await running.kill()
        running.start()
        await listens(mosquitto, 2)
        again = await sender.send(one, f"guest/{vmid}")
        assert (again["status"], again["refused"]) == ("refused", "repeated")
        assert len(writes(lab)) == 1


async def listens(mosquitto: Mosquitto, times: int) -> None:
    """Until its subscription to the command topics was granted so often."""
    await until(lambda: mosquitto.log.count("Sending SUBACK to proxmox-mcp-commands-") >= times, 60)


async def test_what_is_kept_of_guests(lab: Lab, bridge: Started, sender: Sender) -> None:
    vmid, store = pick(lab, running=True), lab.world.pbs["pbs1"].datastores["main"]
    async with bridge(MQTT_COMMANDS="true"):
        snapshot = await sender.order("snapshot", f"guest/{vmid}", args={"name": "over-mqtt"})
        assert (snapshot["ok"], snapshot["status"], snapshot["details"]) == (True, "done", {"snapshot": "over-mqtt"})
        assert "over-mqtt" in {one.name for one in lab.guest(vmid).snapshots}
        backup = await sender.order("backup", f"guest/{vmid}", args={"storage": "nas"})
        assert backup["ok"], backup
        assert backup["details"]["volume"] in {volume.volid for volume in lab.world.storages["nas"].on("")}
        back = await sender.order("rollback", f"guest/{vmid}", args={"name": "over-mqtt"})
        assert (back["refused"], "MQTT_ALLOW=destroy" in back["hint"]) == ("policy", True)
        verified = await sender.order("verify", "datastore/main", site="pbs1", args={"group": f"vm/{vmid}"})
        assert (verified["ok"], verified["action"], verified["site"]) == (True, "datastore.verify", "pbs1"), verified
        assert {one.verified for one in store.snapshots if one.ident == str(vmid)} == {"ok"}
