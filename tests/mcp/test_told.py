"""Events as people watch them: folded, none missed in a burst, nothing in them that a terminal would obey."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mqtt_bridge.model import Event, EventList
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.topics import Topics
from proxmox_mcp.live import LiveView, event_line
from proxmox_mcp.screen import RECENT, stream
from proxmox_mcp.serving import bus_factory
from proxmox_mcp.state import State
from proxmox_mcp.told import KEPT, SEEN, WAITING, Listening, Told
from tests.journal.making import event
from tests.mcp.conftest import Eventually
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, environment
from tests.support.site import Site

BURST = 5000
NAMES = Topics()


def failed(number: int, source: str, **fields: Any) -> Event:
    """One account of the backup of guest 100, which failed."""
    given = {"kind": "backup.job.failed", "severity": "error", "ok": False, "node": "pve1", "guest": 100}
    return event(number, source=source, correlation_id="c", title=f"told by {source}", **{**given, **fields})


def message(told: Event) -> Message:
    return Message(NAMES.event(told.site, told), told.payload(), 1)


def printed(told: Told, width: int = 120, height: int = 30) -> str:
    return drawn(event_line(told.latest(1)[0]), width, height)


def drawn(what: object, width: int = 120, height: int = 30) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(what, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_one_line_names_all_that_told() -> None:
    told = Told()
    first = failed(1, "SYSLOG", trust="unauthenticated")
    told.add([first, failed(2, "SYSLOG", duplicate_of=first.id, trust="unauthenticated"), first])
    told.add([failed(3, "WEBHOOK", trust="authenticated"), failed(4, "SMTP", duplicate_of=first.id)])
    assert (told.total, told.by_severity["error"]) == (1, 1)
    line = printed(told)
    assert "SYSLOG, WEBHOOK, SMTP, 4 times" in line
    assert "told by SMTP" in line, "the account that can be trusted most"


async def test_what_is_worse_is_a_line_of_its_own() -> None:
    told = Told()
    first = event(1, source="SYSLOG", correlation_id="c", ok=True)
    told.add(
        [first, failed(2, "SMTP", duplicate_of=first.id), event(3, source="X", site="other", duplicate_of=first.id)]
    )
    assert [h.event.source for h in told.latest(9)] == ["X", "SMTP", "SYSLOG"]


async def test_only_what_is_severe_enough() -> None:
    told = Told("error")
    told.add([event(1), event(2, severity="warning"), failed(3, "SMTP"), event(4, severity="critical")])
    assert told.by_severity == {"error": 1, "critical": 1}


async def test_a_line_carries_nothing_that_a_terminal_obeys() -> None:
    told = Told()
    evil = "\x1b]0;owned\x07[bold]x[/bold]\u202egnp.exe\nsecond"
    told.add([event(1, title=evil, node=evil, source=evil)])
    line = printed(told)
    assert "[bold]x[/bold]" in line
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", line)
    assert line.count("\n") == 1


async def test_it_is_bounded_and_says_what_gave_way() -> None:
    told = Told()
    told.add(event(n) for n in range(WAITING + 100))
    assert (told.total, len(told.happenings), len(told.latest(10))) == (WAITING + 100, KEPT, 10)
    assert (len(told.news()), told.unprinted > 0) == (WAITING, True)
    assert len(told._seen) <= SEEN
    assert len(told._heads) <= SEEN


async def test_the_view_says_how_many_more_there_are(state: State) -> None:
    told = Told()
    told.add([event(n) for n in range(1000)])
    told.add([event(5000, title="Node pve9 is offline", severity="critical")])
    view = await state.view()
    for width, height in ((120, 35), (80, 24)):
        shown = drawn(LiveView(view, ["broker"], told), width, height)
        assert "CRIT" in shown
        assert "1 critical" in shown
        assert (found := re.search(r"… and (\d+) more", shown.partition("Events")[2]))
        events = len(re.findall(r"Guest \d+ st|Node pve9", shown))
        assert int(found[1]) + events == 1001


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_the_last_word_on_how_to_connect_is_shown_however_the_lines_break(state: State, width: int) -> None:
    lines = [" ".join(["a" * 45] * 9), "the end"]  # a line of the screen holds fewer words than letters
    console = Console(file=io.StringIO(), width=width, height=50, color_system=None)
    console.print(LiveView(await state.view(), lines))
    assert isinstance(console.file, io.StringIO)
    assert "the end" in console.file.getvalue()


async def test_the_view_without_a_feed_shows_the_last_events(state: State) -> None:
    assert "guest103 stopped" in drawn(LiveView(await state.view()), 130, 40)


async def test_what_is_no_event_of_its_topic_is_left_out() -> None:
    hub, told = Loopback(), Told()
    async with hub.client() as anyone, Listening(hub.client, NAMES, told) as listening:
        await listening.ready.wait()
        good = message(event(1))
        await anyone.publish_many(
            [
                Message(good.topic, b"{broken"),
                Message(good.topic.replace("/lab/", "/other/"), good.payload),
                Message(good.topic.replace("/info/", "/critical/"), good.payload),
                Message(good.topic, b" " * 600_000 + good.payload),
                good,
            ]
        )
        await asyncio.sleep(0.05)
    assert told.total == 1


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


async def test_nothing_of_a_burst_is_missed(mosquitto: Mosquitto, eventually: Eventually) -> None:
    told = Told()
    factory = bus_factory(mosquitto.options, "watch")
    async with Broker(mosquitto.options) as bus, Listening(factory, NAMES, told) as listening:
        await bus.wait_connected()
        await listening.ready.wait()
        await bus.publish_many([message(event(n)) for n in range(BURST)])
        await eventually(lambda: told.total >= BURST)
    assert told.total == BURST


async def test_what_came_while_the_broker_was_away(
    mosquitto: Mosquitto, eventually: Eventually, capsys: pytest.CaptureFixture[str]
) -> None:
    told, stop, out = Told(), asyncio.get_running_loop().create_future(), io.StringIO()
    factory = bus_factory(mosquitto.options, "watch")
    async with Broker(mosquitto.options) as bus, State(factory) as state, Listening(factory, NAMES, told):
        site = Site(bus)
        await bus.wait_connected()
        await site.put("events", EventList(events=tuple(event(n) for n in range(40, 0, -1))))
        await site.publish_nodes()
        await site.beat()
        await site.put("bridge_state", "online")
        await site.put("manifest", site.manifest(guests=()))
        await state.view()
        showing = asyncio.create_task(stream(state, stop, told, console=Console(file=out, width=200)))
        await eventually(lambda: out.getvalue().count("\n") == RECENT)
        assert "Guest 31 started" in out.getvalue().splitlines()[0], "the last ones, the newest last"
        await mosquitto.restart()
        await bus.wait_connected(1)
        await site.put("events", EventList(events=tuple(event(n) for n in range(43, 0, -1))))
        await eventually(lambda: "Guest 43 started" in out.getvalue())
        await eventually(lambda: out.getvalue().count("\n") == RECENT + 3)
        stop.set_result(None)
        await showing
    assert "Connected again" in capsys.readouterr().err


@pytest.fixture
async def telling_mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """Its log says who listens to what."""
    kinds = ("error", "warning", "notice", "information", "subscribe")
    async with Mosquitto(tmp_path / "telling", config=[f"log_type {kind}" for kind in kinds]) as broker:
        yield broker


async def test_the_command_prints_events(telling_mosquitto: Mosquitto, tmp_path: Path) -> None:
    mosquitto = telling_mosquitto
    env = environment(
        MQTT_HOST="127.0.0.1", MQTT_PORT=str(mosquitto.port), STATE_DIR=str(tmp_path / "s"), PROXMOX_HOST="h",
        PROXMOX_USER="a@pve", PROXMOX_TOKEN_NAME="b", PROXMOX_TOKEN_VALUE="c",
    )  # fmt: skip
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        await Site(bus).publish()
        words = ("proxmox-mcp", "watch")
        async with (
            Command(tmp_path / "lines", *words, "--events", "--severity", "error", env=env) as lines,
            Command(tmp_path / "json", *words, "--json", env=env) as as_json,
            Command(tmp_path / "piped", *words, env=env) as piped,
        ):
            async with asyncio.timeout(60):
                while not ("guest103 stopped" in as_json.out and "guest103 stopped" in piped.out):
                    await asyncio.sleep(0.05)
                while mosquitto.log.count("/event/+/#") < 3:
                    await asyncio.sleep(0.05)
                first = failed(1, "WEBHOOK")
                await bus.publish_many([message(e) for e in (first, failed(2, "SMTP", duplicate_of=first.id))])
                await bus.publish_many([message(event(n)) for n in range(10, 1500)])
                while len(as_json.out.splitlines()) < 1493 or len(piped.out.splitlines()) < 1493:
                    await asyncio.sleep(0.05)
                while not ("WEBHOOK" in lines.out and "SMTP" in lines.out):
                    await asyncio.sleep(0.05)
            assert [await c.stop() for c in (lines, as_json, piped)] == [0, 0, 0]
        assert all("error     100  " in line for line in lines.out.splitlines()[:1])
        assert len(lines.out.splitlines()) <= 2, "not repeated as equal lines"
        assert "\x1b" not in piped.out + lines.out
        assert len({json.loads(line)["id"] for line in as_json.out.splitlines()}) == 1493
