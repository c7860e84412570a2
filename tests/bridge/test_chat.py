"""Commands given in Discord, on a real lab through a bridge: answered, carried out, refused, audited."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.app import Bridge
from mqtt_bridge.approvals.types import Decider
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.support.discord_gateway import CHANNEL, MEMBER, TOKEN, Discord
from tests.support.mosquitto import Mosquitto
from tests.support.watched import fast

WHO = "ann (5005)"
Started = Callable[..., AbstractAsyncContextManager[Bridge]]


@pytest.fixture
def lab_options() -> LabOptions:
    """With hosts in no hurry to make things up."""
    return LabOptions(speed=20, pvestatd_interval=0, auth_delay=0.05)


@pytest.fixture
async def bridge(lab: Lab, tmp_path: Path) -> AsyncIterator[Started]:
    """A bridge of the lab that has polled it once."""
    async with Mosquitto(tmp_path / "mosquitto") as mosquitto:
        env = {"STATE_DIR": str(tmp_path / "state"), "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}

        @asynccontextmanager
        async def start(**more: str) -> AsyncIterator[Bridge]:
            async with Bridge(fast(load({**lab.env, **env, **more}, search=False))) as running:
                await running.ready()
                yield running

        yield start


@pytest.fixture
def records(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The audit file, whole."""

    def read() -> list[dict[str, Any]]:
        path = tmp_path / "state" / "audit.jsonl"
        assert not path.exists() or verify(path).ok
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    return read


def pick(lab: Lab, *, running: bool) -> int:
    guests = lab.world.sorted_guests()
    return next(g.vmid for g in guests if g.running == running and not g.template and not g.lock)


async def said(bridge: Bridge, text: str) -> str:
    async with asyncio.timeout(30):
        return await bridge._chat().answer(WHO, "discord", text)


async def test_looks_are_answered_and_change_nothing(lab: Lab, bridge: Started, records: Callable[[], Any]) -> None:
    async with bridge() as running:
        status = await said(running, "status")
        assert "lab: online, 3 of 3 nodes online" in status
        everyone = await said(running, "guests")
        assert len(everyone.splitlines()) == len(lab.world.sorted_guests())
        web = (await said(running, "guests WEB0")).splitlines()
        assert web
        assert all("web0" in line for line in web)
        on_pve2 = (await said(running, "guests pve2")).splitlines()
        assert len(on_pve2) == sum(g.node == "pve2" for g in lab.world.sorted_guests())
        assert await said(running, "guests nothing-like-it") == "No such guest."
        assert "start VMID [SITE]" in await said(running, "")
        assert "explode is no command" in await said(running, "explode 100")
        lab.fault("node-down", "pve2")
        async with asyncio.timeout(20):
            while "node pve2 is" not in await said(running, "status"):
                await asyncio.sleep(0.1)
    assert records() == []
    assert [r.method for r in lab.requests if r.method != "GET"] == []


async def test_a_guest_is_really_started(lab: Lab, bridge: Started, records: Callable[[], Any]) -> None:
    vmid = pick(lab, running=False)
    async with bridge(DISCORD_ALLOW="operate") as running:
        answer = await said(running, f"start {vmid}")
        assert lab.guest(vmid).running
        assert str(vmid) in answer
        assert "running" in await said(running, f"guests {lab.guest(vmid).name}"), "the state is read again at once"
        assert (await said(running, f"shutdown {vmid} lab")).count(str(vmid))
        assert not lab.guest(vmid).running
    written = records()
    assert [r["event"] for r in written] == ["action.intent", "action.outcome"] * 2
    assert {WHO in json.dumps(r) for r in written} == {True}
    assert "discord" in json.dumps(written[0])


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"DISCORD_ALLOW": "read"}, "DISCORD_ALLOW"),
        ({"MCP_ALLOW": "exec", "MQTT_ALLOW": "operate"}, "DISCORD_ALLOW"),
        ({"DISCORD_ALLOW": "operate", "PROXMOX_VMID_ALLOWLIST": "999"}, "PROXMOX_VMID_ALLOWLIST"),
        ({"DISCORD_ALLOW": "operate", "PROXMOX_NODE_ALLOWLIST": "pve9"}, "PROXMOX_NODE_ALLOWLIST"),
    ],
)
async def test_the_policy_refuses(
    lab: Lab, bridge: Started, records: Callable[[], Any], more: dict[str, str], why: str
) -> None:
    vmid = pick(lab, running=False)
    async with bridge(**more) as running:
        assert why in await said(running, f"start {vmid}")
    assert not lab.guest(vmid).running
    (record,) = records()
    assert (record["event"], WHO in json.dumps(record)) == ("action.refused", True)


async def test_what_needs_an_approval_is_said_again_with_it(lab: Lab, bridge: Started) -> None:
    vmid = pick(lab, running=True)
    key = sha256(b"alice-secret").hexdigest()
    more = {"DISCORD_ALLOW": "change", "APPROVAL_REQUIRED": "change", "APPROVERS": f"alice:sha256:{key}"}
    async with bridge(**more) as running:
        again = (await said(running, f"stop {vmid} lab")).splitlines()[-1].removeprefix("Then say: ")
        assert again.startswith(f"stop {vmid} lab approval=")
        assert lab.guest(vmid).running
        await running.approvals.decide(again.rpartition("=")[2], "approve", Decider("alice", "secret"))
        await said(running, again)
        assert not lab.guest(vmid).running


async def test_a_level_covers_no_higher_one(lab: Lab, bridge: Started) -> None:
    vmid = pick(lab, running=True)
    async with bridge(DISCORD_ALLOW="operate") as running:
        assert "DISCORD_ALLOW=change" in await said(running, f"stop {vmid}")
    assert lab.guest(vmid).running


@pytest.mark.parametrize(
    "text", ["start", "start web01", "start 12", "start 100; stop 101", "start ../100", "start -100"]
)
async def test_what_names_no_guest_does_nothing(lab: Lab, bridge: Started, text: str) -> None:
    async with bridge(DISCORD_ALLOW="exec") as running:
        answer = await said(running, text)
    assert "Which guest" in answer or "no guest" in answer or "100;" in answer
    assert [r.method for r in lab.requests if r.method != "GET"] == []


async def test_an_order_that_fails_says_why(lab: Lab, bridge: Started, records: Callable[[], Any]) -> None:
    vmid = pick(lab, running=False)
    async with bridge(DISCORD_ALLOW="operate") as running:
        assert "no guest 99999" in await said(running, "start 99999")
        kind = "qmstart" if lab.guest(vmid).kind == "qemu" else "vzstart"
        lab.fault("task-fail", kind, "no space left on device")
        answer = await said(running, f"start {vmid}")
        assert "no space left on device" in answer
        assert not lab.guest(vmid).running
    last = records()[-1]
    assert (last["event"], last["result"]) == ("action.outcome", "failed")


# --- said in a channel -----------------------------------------------------------------------------------------------


@pytest.fixture
async def discord(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Discord]:
    async with Discord() as stand_in:
        stand_in.aim(monkeypatch)
        yield stand_in


async def answered(discord: Discord, count: int) -> str:
    async with asyncio.timeout(20):
        while len(discord.sent) < count:
            await asyncio.sleep(0.02)
    return str(discord.sent[count - 1]["content"])


async def test_said_in_the_channel_it_starts_the_guest(
    lab: Lab, bridge: Started, discord: Discord, records: Callable[[], Any]
) -> None:
    vmid = pick(lab, running=False)
    more = {
        "ENABLED_EVENT_LISTENERS": "WEBSOCKET,DISCORD_IN",
        "DISCORD_IN_BOT_TOKEN": TOKEN,
        "DISCORD_IN_CHANNELS": str(CHANNEL),
        "DISCORD_IN_ROLES": "Operators",
        "DISCORD_ALLOW": "operate",
    }
    async with bridge(**more) as running:
        async with asyncio.timeout(20):
            while running.events.info()["DISCORD_IN"].status != "ok":
                await asyncio.sleep(0.02)
        await discord.say(
            f"!pve start {vmid}", member={"roles": [], "joined_at": None, "deaf": False, "mute": False, "flags": 0}
        )
        assert "none of the roles" in await answered(discord, 1)
        assert not lab.guest(vmid).running
        await discord.post(f"!pve start {vmid}")
        await discord.say(f"!pve start {vmid}")
        assert str(vmid) in await answered(discord, 2)
        assert lab.guest(vmid).running
        await discord.say("!pve status")
        assert "lab: online" in await answered(discord, 3)
        async with asyncio.timeout(10):
            while not any(record["event"] == "action.outcome" for record in records()):
                await asyncio.sleep(0.02)
        assert len(discord.sent) == 3, "a webhook gives no commands"
        found = await running.events.journal.recent(0, 1000)
        assert not [e for e in found if e.source == "DISCORD_IN" and "start" in e.title]
    (asked, done) = records()
    assert (asked["event"], done["event"]) == ("action.intent", "action.outcome")
    assert f"ann ({MEMBER})" in json.dumps(asked)
    assert TOKEN not in json.dumps([asked, done, discord.sent])
