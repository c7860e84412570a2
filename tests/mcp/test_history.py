"""get_events beyond the last 50: over a real bridge, over several, over one that is silent, and with none."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from mqtt_bridge.app import Bridge
from mqtt_bridge.events.events import Events
from mqtt_bridge.events.history import History
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event, EventList, HistoryRequest, utc
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.settings import McpSettings, Settings, load
from mqtt_bridge.topics import Topics
from proxmox_mcp.history import PATIENCE, pages
from proxmox_mcp.lab import Lab
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import bus_factory, private_poller
from proxmox_mcp.state import State
from tests.journal.making import event, events
from tests.support.asking import ask, refused
from tests.support.held import held
from tests.support.mosquitto import Mosquitto
from tests.support.site import Site
from tests.support.watched import fast

NAMES = Topics()
MANY = 1000
START = int(time.time()) - 7200
SERVED = Settings(mcp=McpSettings(toolsets=frozenset({"all"})))


def told(number: int, **fields: Any) -> Event:
    """One a second; every third tells again what the one before told, every tenth is an error."""
    given: dict[str, Any] = {"source": "WEBHOOK", "node": f"pve{number % 3 + 1}", "guest": 100 + number % 5}
    if number % 3 == 2:
        given["duplicate_of"] = event(number - 1).id
    if number % 10 == 0:
        given |= {"severity": "error", "kind": "backup.job.failed"}
    return event(number, at=START + number, **{**given, **fields})


@asynccontextmanager
async def reader(options: BrokerOptions, sites: Sequence[str] = ("lab",)) -> AsyncIterator[Client]:
    async with State(bus_factory(options, "mcp"), sites=sites) as state:
        await state.view()
        async with held(Client(build_server(SERVED, state))) as client:
            yield client


class Listening(Broker):
    """Says when it is subscribed: a question before that is lost."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.subscribed = asyncio.Event()

    async def subscribe(self, *given: Any, **more: Any) -> None:
        await super().subscribe(*given, **more)
        self.subscribed.set()


@asynccontextmanager
async def answering(options: BrokerOptions, journal: Journal, bridge: str = "main") -> AsyncIterator[History]:
    history = History(journal, NAMES, bridge)
    async with Listening(options, history.take, role="history") as bus:
        await bus.wait_connected()
        serving = asyncio.create_task(history.serve(bus))
        await bus.subscribed.wait()
        try:
            yield history
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def everything(client: Client, **arguments: Any) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    while True:
        page = await ask(client, "get_events", **arguments)
        assert len(page["events"]) <= arguments.get("limit", 100)
        found += page["events"]
        if page["next_cursor"] is None:
            return found
        arguments["cursor"] = page["next_cursor"]


def ids(found: Sequence[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in found]


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
async def bus(mosquitto: Mosquitto) -> AsyncIterator[Broker]:
    async with Broker(mosquitto.options) as connected:
        await connected.wait_connected()
        yield connected


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    async with Journal() as opened:
        await opened.commit([told(n) for n in range(MANY)], {})
        yield opened


async def publish(bus: Broker, some: Sequence[Event], slug: str = "lab", bridge: str = "main") -> Site:
    site = Site(bus, guests=3, slug=slug, bridge=bridge)
    await site.publish()
    newest = sorted(some, key=lambda e: e.timestamp, reverse=True)
    await site.put("events", EventList(events=tuple(newest[:50])))
    return site


# --- a real bridge ---------------------------------------------------------------------------------------------------


async def test_a_thousand_events_of_a_real_bridge(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with Lab() as lab, AsyncExitStack() as stack:
        env = {"STATE_DIR": str(tmp_path), "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
        bridge = await stack.enter_async_context(Bridge(fast(load({**lab.env, **env}, search=False))))
        await bridge.ready()
        await bridge.events.journal.commit([told(n) for n in range(MANY)], {})
        await asyncio.sleep(1.5)  # the retained list goes out once a second
        client = await stack.enter_async_context(reader(mosquitto.options, ("lab", "pbs1")))
        errors = await everything(client, kind="backup.*", since=utc(START - 60), min_severity="error", limit=30)
        expected = [told(n) for n in range(MANY - 1, -1, -1) if n % 10 == 0 and n % 3 != 2]
        assert ids(errors) == [e.id for e in expected]
        started = await everything(client, kind="Guest.*", since=utc(START), limit=100, duplicates=True)
        wanted = [told(n).id for n in range(MANY - 1, -1, -1) if n % 10]
        assert [i for i in ids(started) if i in set(wanted)] == wanted
        assert len(ids(started)) == len(set(ids(started)))
        one = await everything(client, vmid=103, node="pve2", kind="guest.*", since=utc(START), limit=7)
        assert {(e["guest"], e["node"], e["duplicate_of"]) for e in one} == {(103, "pve2", None)}
        assert len(one) >= sum(n % 5 == 3 and n % 3 == 1 and n % 10 != 0 for n in range(MANY))
        late = await everything(client, since=utc(START + 990), kind="guest.started", duplicates=True)
        assert {e["timestamp"] >= (utc(START + 990) or "") for e in late} == {True}
        page = await ask(client, "get_events", limit=1000)
        assert (page["source"], page["notes"]) == ("mqtt", ["No event of site pbs1 has been published yet."])
        assert page["by_severity"]["error"] >= 60


async def test_the_private_poller_has_events_of_its_own(tmp_path: Path) -> None:
    async with Lab() as lab, AsyncExitStack() as stack:
        settings = fast(load({**lab.env, "STATE_DIR": str(tmp_path)}, search=False))
        state = State(None, lambda: private_poller(settings), sites=[s.slug for s in settings.sites], wait=10)
        await stack.enter_async_context(state)
        client = await stack.enter_async_context(held(Client(build_server(SERVED, state))))
        first = await ask(client, "get_events")
        assert first["source"] == "api"
        assert any("No bridge is online" in note for note in first["notes"])
        vmid = next(g.vmid for g in lab.world.sorted_guests() if g.running and not g.template and not g.lock)
        lab.fault("guest-crash", vmid)
        async with asyncio.timeout(30):
            while not (found := (await ask(client, "get_events", vmid=vmid))["events"]):
                await asyncio.sleep(0.1)
        assert found[0]["kind"] == "guest.stopped.unexpected"


async def test_more_than_fifty_over_the_loopback(tmp_path: Path) -> None:
    async with Lab() as lab, AsyncExitStack() as stack:
        settings = fast(load({**lab.env, "STATE_DIR": str(tmp_path)}, search=False))

        @asynccontextmanager
        async def poller() -> AsyncIterator[Loopback]:
            """As serving.private_poller, with a past."""
            writer = Writer("private", "i", "2026-01-01T00:00:00Z")
            async with Pollers(settings, writer) as pollers, Events(pollers) as kept:
                await kept.journal.commit([told(n) for n in range(MANY)], {})
                pollers.poll()
                yield pollers.loopback

        state = State(None, poller, sites=[s.slug for s in settings.sites], wait=10)
        await stack.enter_async_context(state)
        client = await stack.enter_async_context(held(Client(build_server(SERVED, state))))
        found = await everything(client, duplicates=True, limit=300)
        assert ids(found) == [told(n).id for n in range(MANY - 1, -1, -1)]


# --- what can be wrong -----------------------------------------------------------------------------------------------


async def test_a_bridge_that_does_not_answer(mosquitto: Mosquitto, bus: Broker) -> None:
    await publish(bus, [told(n) for n in range(100)])
    async with reader(mosquitto.options) as client:
        began = time.monotonic()
        page = await ask(client, "get_events", duplicates=True)
        assert PATIENCE - 0.5 < time.monotonic() - began < PATIENCE + 15
        assert (len(page["events"]), page["total"], page["next_cursor"]) == (50, None, None)
        (note,) = [n for n in page["notes"] if "only the latest 50" in n]
        assert "Bridge main does not answer" in note
        again = time.monotonic()
        await ask(client, "get_events")
        assert time.monotonic() - again < PATIENCE, "it is not waited for each time"


async def test_cursors_that_are_none(mosquitto: Mosquitto, bus: Broker, journal: Journal) -> None:
    await publish(bus, [told(n) for n in range(100)])
    async with answering(mosquitto.options, journal), reader(mosquitto.options) as client:
        for wrong in ("", "x", "é", "e30", "W10", "bnVsbA", "eyJvdGhlciI6IiJ9", "A" * 5000):
            assert "cursor is not valid" in await refused(client, "get_events", cursor=wrong), wrong
        assert "cursor" in await refused(client, "get_events", cursor="eyJtYWluIjoieCJ9")  # {"main":"x"}
        assert "kind" in await refused(client, "get_events", kind="a;b")
        assert "since" in await refused(client, "get_events", since="yesterday")
        page = await ask(client, "get_events", limit=10)
        assert (await ask(client, "get_events", limit=10, cursor=page["next_cursor"]))["events"]


async def test_what_comes_in_between_shifts_no_page(mosquitto: Mosquitto, bus: Broker, journal: Journal) -> None:
    await publish(bus, [told(n) for n in range(100)])
    async with answering(mosquitto.options, journal), reader(mosquitto.options) as client:
        first = await ask(client, "get_events", limit=40, duplicates=True)
        await journal.commit([told(n) for n in range(MANY, MANY + 30)], {})
        rest = await everything(client, limit=40, duplicates=True, cursor=first["next_cursor"])
        assert ids(first["events"]) + ids(rest) == [told(n).id for n in range(MANY - 1, -1, -1)]


async def test_duplicates_are_hidden_unless_asked_for(mosquitto: Mosquitto, bus: Broker, journal: Journal) -> None:
    await publish(bus, [told(n) for n in range(100)])
    async with answering(mosquitto.options, journal), reader(mosquitto.options) as client:
        shown = await everything(client, limit=90)
        assert ids(shown) == [told(n).id for n in range(MANY - 1, -1, -1) if n % 3 != 2]
        assert len(await everything(client, limit=90, duplicates=True)) == MANY


async def test_who_is_trusted_most_is_shown_beside_who_was_first(mosquitto: Mosquitto, bus: Broker) -> None:
    first = event(1, at=START, source="SYSLOG", trust="unauthenticated")
    hook = event(2, at=START + 1, source="WEBHOOK", trust="authenticated", duplicate_of=first.id)
    task = event(3, at=START + 2, source="WEBSOCKET", trust="api", duplicate_of=first.id)
    again = event(4, at=START + 3, source="WEBSOCKET", trust="api", duplicate_of=first.id)
    async with Journal() as journal:
        await journal.commit([first, hook, task, again], {})
        await publish(bus, [first, hook, task, again])
        async with answering(mosquitto.options, journal), reader(mosquitto.options) as client:
            assert ids(await everything(client, limit=90)) == [task.id, first.id]
            assert len(await everything(client, limit=90, duplicates=True)) == 4


async def test_an_answer_is_bounded(mosquitto: Mosquitto, bus: Broker) -> None:
    async with Journal() as journal:
        await journal.commit([event(n, at=START + n, message="m" * 60_000) for n in range(60)], {})
        await publish(bus, [told(n) for n in range(60)])
        async with answering(mosquitto.options, journal), reader(mosquitto.options) as client:
            page = await ask(client, "get_events", limit=1000)
            assert page["next_cursor"]
            assert sum(len(e["message"]) for e in page["events"]) < 100_000
            assert any("shortened" in note for note in page["notes"])
            assert len(await everything(client, limit=1000)) == 60
            one = await ask(client, "get_events", limit=1)
            assert len(one["events"][0]["message"]) == 60_000


async def test_a_list_that_was_cut_off_by_its_size_is_no_whole_one(mosquitto: Mosquitto, bus: Broker) -> None:
    async with Journal() as journal:
        long = [event(n, at=START + n, message="m" * 30_000) for n in range(30)]
        await journal.commit(long, {})
        await publish(bus, long[-15:])
        async with answering(mosquitto.options, journal), reader(mosquitto.options) as client:
            assert len(await everything(client)) == 30


# --- two bridges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [7, 50, 500])
async def test_two_bridges_are_one_list(mosquitto: Mosquitto, bus: Broker, limit: int) -> None:
    """One has told much lately, the other one little for long."""
    mine = [told(n) for n in range(300)]
    theirs = [told(n, site="far", duplicate_of=None) for n in range(301, 20_000, 100)]
    both = sorted([*mine, *theirs], key=lambda e: e.timestamp, reverse=True)
    async with Journal() as near, Journal() as far, AsyncExitStack() as stack:
        await near.commit(mine, {})
        await far.commit(theirs, {})
        await publish(bus, mine)
        await publish(bus, theirs, "far", "other")
        await stack.enter_async_context(answering(mosquitto.options, near))
        await stack.enter_async_context(answering(mosquitto.options, far, "other"))
        client = await stack.enter_async_context(reader(mosquitto.options, ("lab", "far")))
        found = await everything(client, limit=limit, duplicates=True)
        assert ids(found) == [e.id for e in both]
        only = await everything(client, limit=limit, site="far")
        assert {e["site"] for e in only} == {"far"}
        assert len(only) == len(theirs)


async def test_one_of_two_bridges_is_silent(mosquitto: Mosquitto, bus: Broker, journal: Journal) -> None:
    theirs = [told(n, site="far") for n in range(2000, 2100)]
    await publish(bus, [told(n) for n in range(100)])
    await publish(bus, theirs, "far", "other")
    async with answering(mosquitto.options, journal), reader(mosquitto.options, ("lab", "far")) as client:
        page = await ask(client, "get_events", limit=200, duplicates=True)
        assert len([e for e in page["events"] if e["site"] == "far"]) == 50
        assert len([e for e in page["events"] if e["site"] == "lab"]) == 150
        assert any("Of site far only" in note and "other" in note for note in page["notes"])
        rest = await everything(client, limit=200, duplicates=True, cursor=page["next_cursor"])
        assert len([e for e in rest if e["site"] == "lab"]) >= MANY - 200


async def test_pages_go_on_where_a_bridge_has_nothing_more(mosquitto: Mosquitto, bus: Broker) -> None:
    async with Journal() as near, Journal() as empty, AsyncExitStack() as stack:
        await near.commit(events(0, 20), {})
        await publish(bus, events(0, 20))
        await stack.enter_async_context(answering(mosquitto.options, near))
        await stack.enter_async_context(answering(mosquitto.options, empty, "other"))
        state = await stack.enter_async_context(State(bus_factory(mosquitto.options, "mcp"), sites=["lab"]))
        mirror = (await state.view()).mirror
        first = await pages(mirror.history, mirror.bus, ["main", "other"], HistoryRequest(limit=15), None)
        assert (len(first.events), first.cursor is None) == (15, False)
        second = await pages(mirror.history, mirror.bus, ["main", "other"], HistoryRequest(limit=15), first.cursor)
        assert (len(second.events), second.cursor) == (5, None)


# --- rights ----------------------------------------------------------------------------------------------------------

READS = "user agent\ntopic read proxmox/#\n\nuser bridge\ntopic readwrite proxmox/#\n"
ASKS = READS.replace("read proxmox/#\n\n", "read proxmox/#\ntopic write proxmox/bridge/+/request/history\n\n", 1)


@pytest.mark.parametrize(
    ("acl", "protocol", "works"), [(READS, "5", False), (READS, "3.1.1", False), (ASKS, "5", True)]
)
async def test_an_acl_decides(tmp_path: Path, acl: str, protocol: Any, works: bool) -> None:
    users = {"bridge": "b-password", "agent": "a-password"}
    async with Mosquitto(tmp_path / "m", acl=acl, users=users) as mosquitto, Journal() as journal:
        await journal.commit([told(n) for n in range(MANY)], {})
        async with (
            Broker(mosquitto.options_for("bridge")) as bus,
            answering(mosquitto.options_for("bridge"), journal),
        ):
            await bus.wait_connected()
            await publish(bus, [told(n) for n in range(MANY)])
            async with reader(replace(mosquitto.options_for("agent"), protocol=protocol)) as client:
                page = await ask(client, "get_events", duplicates=True)
                assert len(page["events"]) == (100 if works else 50)
                noted = [n for n in page["notes"] if "only the latest" in n]
                assert bool(noted) is not works
                assert not page["stale"]


# --- resources and what belongs to no site ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_the_resource_and_its_news(mosquitto: Mosquitto, bus: Broker, journal: Journal) -> None:
    uri = "proxmox://lab/events"
    news: list[str] = []

    async def listen(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            news.append(str(message.params.uri))

    site = await publish(bus, [told(n) for n in range(100)])
    async with (
        answering(mosquitto.options, journal),
        State(bus_factory(mosquitto.options, "mcp"), sites=["lab"]) as state,
    ):
        await state.view()
        async with held(Client(build_server(SERVED, state), mode="legacy", message_handler=listen)) as client:
            await client.session.subscribe_resource(uri)
            read = (await client.read_resource(uri)).contents[0]
            assert isinstance(read, types.TextResourceContents)
            assert told(999).id in read.text
            await site.put("events", EventList(events=(told(1001),)))
            async with asyncio.timeout(15):
                while news != [uri]:
                    await asyncio.sleep(0.01)


async def test_what_belongs_to_no_site_is_shown_too(mosquitto: Mosquitto, bus: Broker) -> None:
    site = await publish(bus, [told(1)])
    stray = event(7, site="unassigned", at=START + 5000)
    await bus.publish(
        site.names.build("events", site="unassigned"), EventList(events=(stray,)).payload(), qos=0, retain=True
    )
    async with reader(mosquitto.options) as client:
        assert ids(await everything(client)) == [stray.id, told(1).id]
        assert ids(await everything(client, site="unassigned")) == [stray.id]
        assert ids(await everything(client, site="lab")) == [told(1).id]
        uris = [str(r.uri) for r in (await client.list_resources()).resources]
        assert "proxmox://unassigned/events" in uris
        content = (await client.read_resource("proxmox://unassigned/events")).contents[0]
        assert isinstance(content, types.TextResourceContents)
        assert stray.id in content.text
