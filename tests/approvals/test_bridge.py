"""From end to end: a bridge, a lab, a Mosquitto; another client reuses, replays, alters and outlives an approval."""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.app import Bridge
from mqtt_bridge.approvals import Approvals
from mqtt_bridge.approvals.proofs import Claim, key_of, sign
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.model import utc
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.approvals.making import SECRETS, SETTINGS, pending
from tests.approvals.over_mqtt import NAMES, Client, client, until
from tests.commands.desk import asked
from tests.support.mosquitto import Mosquitto
from tests.support.services import NtfyServer
from tests.support.watched import fast

GUEST = re.compile(r"proxmox/lab/guest/\d+")


@dataclass
class Stage:
    """Everything that is there. `other` is a client without any secret, apart from `proof`, which is alice's."""

    lab: Lab
    bridge: Bridge
    other: Client
    folder: Path

    async def order(self, command: str, vmid: int, **fields: Any) -> dict[str, Any]:
        one = asked(command, **fields)
        assert self.other.bus
        await self.other.bus.publish(f"proxmox/lab/guest/{vmid}/command", json.dumps(one).encode())
        await until(lambda: self.other.results(one["id"]), "no result of the command")
        return self.other.results(one["id"])[-1]

    async def asked_for(self, vmid: int, **fields: Any) -> str:
        result = await self.order("stop", vmid, **fields)
        assert result["status"] == "approval_required", result
        given: str = result["approval"]["id"]
        await until(lambda: self.other.published(given), "it is not published")
        return given

    async def approve(self, given: str) -> dict[str, Any]:
        said = self.decision(given)
        return await self.other.answer(given, "alice", **said)

    def decision(self, given: str) -> dict[str, Any]:
        told = self.other.published(given)
        assert told
        ts = utc(time.time()) or ""
        mac = sign(key_of(SECRETS["alice"]), Claim(given, "approve", told["digest"], "alice", ts))
        return {"decision": "approve", "digest": told["digest"], "proof": {"ts": ts, "hmac": mac}}

    def stops(self, vmid: int) -> int:
        return self.lab.requests.count("POST", f"*/{vmid}/status/stop")

    def running(self) -> list[int]:
        states = {m.topic: json.loads(m.payload) for m in self.other.seen if GUEST.fullmatch(m.topic) and m.payload}
        return sorted(one["vmid"] for one in states.values() if one["status"] == "running")


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@asynccontextmanager
async def staged(tmp_path: Path, mosquitto: Mosquitto, **more: str) -> AsyncIterator[Stage]:
    env = {
        "STATE_DIR": str(tmp_path / "state"),
        "MQTT_HOST": "127.0.0.1",
        "MQTT_PORT": str(mosquitto.port),
        "MQTT_ALLOW": "exec",
        "APPROVAL_REQUIRED": "change,destroy,exec",
        "APPROVERS": ",".join(f"{name}:sha256:{key_of(secret)}" for name, secret in SECRETS.items()),
        "APPROVAL_MQTT": "proof",
    } | more
    async with (
        Lab(LabOptions(speed=20, pvestatd_interval=0, auth_delay=0.05)) as lab,
        Bridge(fast(load({**lab.env, **env}, search=False))) as bridge,
        client(mosquitto.options) as other,
    ):
        await bridge.ready()
        await until(
            lambda: bridge.commands and bridge.commands.listening and bridge.office and bridge.office.desk.active
        )
        stage = Stage(lab, bridge, other, tmp_path / "state")
        await until(lambda: len(stage.running()) > 2)
        yield stage


async def test_asked_for_approved_done_and_never_again(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with staged(tmp_path, mosquitto) as stage:
        vmid = stage.running()[0]
        given = await stage.asked_for(vmid)
        assert stage.stops(vmid) == 0
        early = await stage.order("stop", vmid, approval=given)
        assert early["status"] == "approval_required"
        said = stage.decision(given)
        answer = await stage.approve(given)
        assert answer["ok"], answer
        done = await stage.order("stop", vmid, approval=given)
        assert (done["status"], done["ok"]) == ("done", True), done
        assert stage.stops(vmid) == 1
        await until(lambda: stage.other.published(given) is None)
        stage.lab.guest(vmid).running = True  # so that there is something to stop again
        again = await stage.order("stop", vmid, approval=given)  # reused
        assert not again["ok"]
        assert "used already" in json.dumps(again)
        assert not (await stage.other.answer(given, "alice", **said))["ok"]  # replayed
        other = next(one for one in stage.running() if one != vmid)
        elsewhere = await stage.order("stop", other, approval=given)
        assert not elsewhere["ok"]
        assert stage.stops(vmid) == 1
        assert stage.stops(other) == 0
    assert verify(stage.folder / "audit.jsonl").ok
    events = [json.loads(line)["event"] for line in (stage.folder / "audit.jsonl").read_text().splitlines()]
    assert events.index("approval.requested") < events.index("approval.approved")


async def test_the_same_command_again_uses_what_was_approved(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A button in Home Assistant that is pressed again: it has no id to give."""
    async with staged(tmp_path, mosquitto) as stage:
        vmid = stage.running()[0]
        given = await stage.asked_for(vmid)
        answer = await stage.approve(given)
        assert answer["ok"], answer
        assert f"({stage.lab.guest(vmid).name})" in str(answer["title"])
        other = await stage.order("stop", stage.running()[1])
        assert other["status"] == "approval_required"
        done = await stage.order("stop", vmid)
        assert (done["status"], done["ok"]) == ("done", True), done
        stage.lab.guest(vmid).running = True
        again = await stage.order("stop", vmid)
        assert again["status"] == "approval_required"
        assert stage.stops(vmid) == 1


async def test_an_approval_for_one_guest_does_not_stop_another(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with staged(tmp_path, mosquitto) as stage:
        vmid, other = stage.running()[:2]
        given = await stage.asked_for(vmid)
        assert (await stage.approve(given))["ok"]
        refused = await stage.order("stop", other, approval=given)
        assert not refused["ok"]
        assert "stale" in json.dumps(refused)
        assert stage.stops(other) == stage.stops(vmid) == 0


async def test_what_changed_in_proxmox_meanwhile_makes_it_stale(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with staged(tmp_path, mosquitto) as stage:
        vmid = stage.running()[0]
        given = await stage.asked_for(vmid)
        assert (await stage.approve(given))["ok"]
        stage.lab.guest(vmid).config["name" if stage.lab.guest(vmid).kind == "qemu" else "hostname"] = "another"
        refused = await stage.order("stop", vmid, approval=given)
        assert not refused["ok"]
        assert "stale" in json.dumps(refused)
        assert stage.stops(vmid) == 0


async def test_it_cannot_be_outlived(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with staged(tmp_path, mosquitto) as stage:
        vmid = stage.running()[0]
        given = await stage.asked_for(vmid)
        assert (await stage.approve(given))["ok"]
        stage.bridge.approvals.clock = lambda: time.time() + 16 * 60
        refused = await stage.order("stop", vmid, approval=given)
        assert not refused["ok"]
        assert "expired" in json.dumps(refused)
        assert stage.stops(vmid) == 0


async def test_the_bridge_leaves_alone_what_other_processes_publish(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """And shows what a process of its own STATE_DIR (stdio, http, the console) has asked for."""
    async with staged(tmp_path, mosquitto) as stage, Approvals(stage.folder, SETTINGS) as beside:
        shared = await pending(beside)
        await until(lambda: stage.other.published(shared.id), "a request of the same STATE_DIR is not published")
        told = stage.other.published(shared.id)
        assert told
        foreign, old = "a" * 32, "b" * 32
        assert stage.other.bus
        for given, until_ in ((foreign, told["expires_at"]), (old, "2020-01-01T00:00:00Z")):
            text = json.dumps({**told, "id": given, "expires_at": until_}).encode()
            await stage.other.bus.publish(NAMES.build("approval", site="lab", id=given), text, retain=True)
        await until(lambda: stage.other.published(old) is None, "the leftover was not cleared")
        await mosquitto_settles(stage)
        assert stage.other.published(foreign)
        assert stage.other.published(shared.id)
        told_of = "proxmox/lab/event/info/audit/approval/requested"
        await until(lambda: any(m.topic == told_of for m in stage.other.seen), "no event tells of it")


async def mosquitto_settles(stage: Stage) -> None:
    """The bridge has polled and tidied meanwhile."""

    def beats() -> int:
        return sum(m.topic.endswith("/heartbeat") for m in stage.other.seen)

    before = beats()
    await until(lambda: beats() > before + 10)


async def test_the_notifiers_show_it_and_the_approver_alone_gets_the_code(tmp_path: Path, mosquitto: Mosquitto) -> None:
    ntfy = NtfyServer(topics=("everybody", "alices-own"))
    async with ntfy.running():
        more = {
            "ENABLED_NOTIFIERS": "NTFY",
            "NTFY_SERVER_URL": ntfy.url,
            "NTFY_TOPIC": "everybody",
            "APPROVERS": f"alice:sha256:{key_of(SECRETS['alice'])};ntfy=alices-own",
        }
        async with staged(tmp_path, mosquitto, **more) as stage:
            vmid = stage.running()[0]
            given = await stage.asked_for(vmid)

            def told(topic: str) -> list[str]:
                sent = [one.json for one in ntfy.asked if one.method in {"POST", "PUT"}]
                return [one["message"] for one in sent if one["topic"] == topic and given in one["message"]]

            await until(lambda: told("everybody") and told("alices-own"), "the approval is not told")
            code = told("alices-own")[0].splitlines()[0].rpartition(": ")[2]
            assert "approvals approve" in told("everybody")[0]
            assert not any(code in text for text in told("everybody"))
            published = stage.other.published(given)
            assert published
            answer = await stage.other.answer(
                given, "alice", decision="approve", digest=published["digest"], proof=code
            )
            assert answer["ok"], answer
            assert (await stage.order("stop", vmid, approval=given))["status"] == "done"
            elsewhere = [m for m in stage.other.seen if "/decision/" not in m.topic and code.encode() in m.payload]
            assert not elsewhere, "the code was published"
        for file in (tmp_path / "state").glob("*"):
            assert not file.is_file() or code.encode() not in file.read_bytes(), file
