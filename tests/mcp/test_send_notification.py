"""send_notification: over a real Mosquitto to real notifiers, with one process, with several, and with none."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.model import BridgeInfo
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.notifying.requests import NotifyRequests
from mqtt_bridge.settings import McpSettings, PermissionSettings, Settings
from mqtt_bridge.topics import Topics
from proxmox_mcp import telling
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import bus_factory
from proxmox_mcp.state import State
from tests.notify.parts import Service, running, until
from tests.support.asking import ask, refused
from tests.support.held import held
from tests.support.mosquitto import Mosquitto
from tests.support.site import Site

ALL = Settings(mcp=McpSettings(toolsets=frozenset({"all"})), permission=PermissionSettings(mcp_allow="operate"))


@dataclass
class Stage:
    """A site on a broker; `process` brings notifiers that are told there."""

    broker: Mosquitto
    site: Site
    folder: Path
    stack: AsyncExitStack
    services: dict[str, Service] = field(default_factory=dict)

    async def announce(self, bridge: str, sites: Sequence[str], *notifiers: str) -> None:
        info = BridgeInfo(
            version="1",
            started_at="",
            bridge=bridge,
            instance=bridge,
            sites=tuple(sites),
            notifiers=dict.fromkeys(notifiers, "ok"),
        )
        await self.site.put("bridge_info", info, bridge=bridge)
        await self.site.put("bridge_state", "online", bridge=bridge)

    async def process(self, bridge: str, sites: Sequence[str], *names: str) -> None:
        for name in names:
            self.services[name] = await self.stack.enter_async_context(Service(name))
        ports = {name: self.services[name].port for name in names}
        path = self.folder / f"{bridge}.db"
        journal, notify = await self.stack.enter_async_context(running(path, self.broker.options, ports))
        requests = NotifyRequests(notify, journal, Topics(), bridge, Audit(self.folder / bridge), sites)
        task = asyncio.create_task(requests.run(self.broker.options))
        self.stack.callback(task.cancel)
        await self.announce(bridge, sites, *names)
        await until(lambda: requests.listening)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Mosquitto(tmp_path / "m"))
        bus = await stack.enter_async_context(Broker(broker.options))
        await bus.wait_connected()
        site = Site(bus)
        await site.publish()
        yield Stage(broker, site, tmp_path, stack)


@asynccontextmanager
async def agent(stage: Stage, settings: Settings = ALL) -> AsyncIterator[Client]:
    settings = replace(settings, general=replace(settings.general, state_dir=stage.folder / "mcp"))
    async with State(bus_factory(stage.broker.options, "mcp"), sites=["lab"]) as state:
        await state.view()
        async with held(Client(build_server(settings, state))) as client:
            yield client


def audited(state_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state_dir / "audit.jsonl").read_text().splitlines()]


def outcomes(answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {row["channel"]: (row["status"], row["bridge"]) for row in answer["channels"]}


async def test_every_channel_with_what_its_service_answered(stage: Stage) -> None:
    await stage.process("main", ["lab"], "A", "B", "C")
    stage.services["B"].status, stage.services["C"].status = 503, 404
    async with agent(stage) as client:
        answer = await ask(client, "send_notification", message="Disk is nearly full", title="Look", severity="warning")
        told = [row["detail"] for row in answer["channels"]]
        assert answer["ok"] is False
        assert outcomes(answer) == {"A": ("delivered", "main"), "B": ("waiting", "main"), "C": ("refused", "main")}
        assert any("C says 404. Correct its address." in one for one in told)
        assert stage.services["A"].got[0].title == "Look"
        stage.services["B"].status = 200
        await until(lambda: stage.services["B"].got)
        only = await ask(client, "send_notification", message="Again", channels=["a"])
        assert (only["ok"], outcomes(only)) == (True, {"A": ("delivered", "main")})
        why = await refused(client, "send_notification", message="x", channels=["C"])
        assert "C: refused" in why


async def test_notifiers_in_two_processes_are_told_and_each_answers(stage: Stage) -> None:
    await stage.process("main", ["lab"], "A")
    await stage.process("main-notify", [], "B")
    async with agent(stage) as client:
        answer = await ask(client, "send_notification", message="Both")
        assert (answer["ok"], outcomes(answer)) == (
            True,
            {"A": ("delivered", "main"), "B": ("delivered", "main-notify")},
        )
        only = await ask(client, "send_notification", message="One", channels=["B"])
        assert outcomes(only) == {"B": ("delivered", "main-notify")}
        assert (len(stage.services["A"].got), len(stage.services["B"].got)) == (1, 2)


async def test_who_asked_for_what_and_what_came_of_it_is_in_both_audit_files(stage: Stage) -> None:
    await stage.process("main", ["lab"], "A")
    async with agent(stage) as client:
        await ask(client, "send_notification", title="Look", message="y" * 300, severity="warning")
    asked, came_of_it = audited(stage.folder / "mcp")
    assert (asked["event"], came_of_it["event"]) == ("notify.intent", "notify.outcome")
    assert (asked["channel"], asked["level"], bool(asked["principal"])) == ("stdio", "operate", True)
    assert (asked["site"], asked["channels"], asked["severity"]) == ("lab", ["A"], "warning")
    assert (asked["title"], asked["text"]) == ("Look", "y" * 200)
    assert came_of_it["outcomes"] == {"A at main": "delivered"}
    told, outcome = audited(stage.folder / "main")
    assert (told["id"], told["principal"], told["channel"]) == (asked["id"], f"MCP ({asked['principal']})", "mqtt")
    assert (outcome["event"], outcome["outcomes"]) == ("notify.outcome", {"A": "delivered"})
    assert verify(stage.folder / "mcp" / "audit.jsonl").ok


async def test_without_a_record_nobody_is_told(stage: Stage) -> None:
    await stage.process("main", ["lab"], "A")
    (stage.folder / "mcp").write_text("a file where the folder should be")
    async with agent(stage) as client:
        assert "audit file" in await refused(client, "send_notification", message="x")
    assert stage.services["A"].got == []


async def test_no_notifier_is_enabled(stage: Stage) -> None:
    async with agent(stage) as client:
        why = await refused(client, "send_notification", message="x")
    assert "No notifier is enabled, so nobody was told." in why
    assert "ENABLED_NOTIFIERS" in why


async def test_no_bridge_is_online(stage: Stage) -> None:
    await stage.announce("main", ["lab"], "A")
    async with agent(stage) as client:
        await stage.site.put("bridge_state", "offline", bridge="main")
        await asyncio.sleep(0.3)
        assert "No bridge is online, so nobody was told." in await refused(client, "send_notification", message="x")


async def test_a_bridge_that_does_not_answer_is_never_called_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling.TellingClient.ask, "__kwdefaults__", {"patience": 1.0})
    await stage.announce("main", ["lab"], "A")
    async with agent(stage) as client:
        why = await refused(client, "send_notification", message="x")
    assert "Not told through every channel." in why
    assert "A: unknown (its process did not answer: whether it is told is not known)" in why


async def test_what_cannot_be_told_is_said_before_anything_is_sent(stage: Stage) -> None:
    await stage.process("main", ["lab"], "A")
    async with agent(stage) as client:
        assert "These run: A." in await refused(client, "send_notification", message="x", channels=["A", "PAGER"])
        assert "Sites: lab." in await refused(client, "send_notification", message="x", site="elsewhere")
        assert "'message'" in await refused(client, "send_notification", message="")
    assert stage.services["A"].got == []


async def test_read_only_servers_do_not_offer_it(stage: Stage) -> None:
    async with agent(stage, Settings()) as client:
        assert "send_notification" not in {tool.name for tool in (await client.list_tools()).tools}
        assert "MCP_ALLOW=operate" in await refused(client, "send_notification", message="x")


async def test_without_a_broker_nobody_is_told() -> None:
    hub = Loopback()
    async with hub.client() as bus:
        await Site(bus).publish()
        async with (
            State(None, lambda: _only(hub), sites=["lab"]) as state,
            held(Client(build_server(ALL, state))) as client,
        ):
            why = await refused(client, "send_notification", message="x")
    assert "no MQTT broker" in why


@asynccontextmanager
async def _only(hub: Loopback) -> AsyncIterator[Loopback]:
    yield hub


async def test_forged_answers_of_strangers_are_not_waited_for(stage: Stage) -> None:
    """Nonsense on the result topic changes nothing."""
    await stage.process("main", ["lab"], "A")
    seen: list[Message] = []
    async with Broker(stage.broker.options, seen.extend) as stranger, agent(stage) as client:
        await stranger.wait_connected()
        await stranger.subscribe(["proxmox/lab/notify"])
        stage.services["A"].delay = 1
        asked = asyncio.create_task(ask(client, "send_notification", message="x"))
        await until(lambda: seen)
        number = seen[0].payload.decode().partition('"id":"')[2].partition('"')[0]
        for payload in (b"", b"{", b'{"bridge": "other", "ok": true}', b"x" * 100_000):
            await stranger.publish(f"proxmox/lab/result/{number}", payload)
        answer = await asked
    assert outcomes(answer) == {"A": ("delivered", "main")}
