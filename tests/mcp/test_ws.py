"""/ws as a program or a browser uses it: who gets in, what it is told, and what happens to those that do not read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2
import pytest

from mqtt_bridge.model import Approval, Event, EventList, NodeState
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import McpSettings, NamedToken, Settings
from proxmox_mcp import ws
from proxmox_mcp.http import HttpServer
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
from proxmox_mcp.tokens import digest
from tests.journal.making import event
from tests.support.processes import until
from tests.support.site import Site, now

TOKEN, OTHER = "a-token-for-tests", "another-token-for-tests"
GOOD = {"Authorization": f"Bearer {TOKEN}"}
LONG = 20.0


@pytest.fixture
def settings() -> Settings:
    named = NamedToken("dashboard", digest(OTHER).hex())
    return Settings(mcp=McpSettings(auth_token=Secret(TOKEN), tokens=(named,)))


@pytest.fixture
async def http(settings: Settings, state: State) -> AsyncIterator[HttpServer]:
    async with HttpServer(build_server(settings, state), host="127.0.0.1", port=0) as running:
        yield running


class Program:
    """A client that keeps what it was told."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def told(self) -> dict[str, Any]:
        message = await self.socket.receive(timeout=LONG)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        found: dict[str, Any] = json.loads(message.data)
        return found

    async def next(self, kind: str) -> dict[str, Any]:
        """The next message of this type; others are passed over."""
        async with asyncio.timeout(LONG):
            while (message := await self.told())["type"] != kind:
                pass
        return message

    async def say(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def closed(self) -> int | None:
        async with asyncio.timeout(LONG):
            while (await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return self.socket.close_code


@asynccontextmanager
async def program(
    http: HttpServer, query: str = "", *, headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Program]:
    url = f"ws://127.0.0.1:{http.port}/ws{query}"
    given = GOOD if headers is None else headers
    async with aiohttp.ClientSession() as client, client.ws_connect(url, headers=given, **options) as socket:
        yield Program(socket)


async def refusal(http: HttpServer, query: str = "", **options: Any) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with program(http, query, **options):
            pass
    return caught.value.status


async def figures(http: HttpServer) -> str:
    async with httpx2.AsyncClient(trust_env=False) as web:
        return (await web.get(http.url.replace("/mcp", "/metrics"), headers=GOOD)).text


async def happen(site: Site, number: int, **fields: Any) -> Event:
    """An event, as a bridge publishes it."""
    given = {"site": "lab", "kind": "backup.job.failed", "severity": "error", "timestamp": now(), **fields}
    told = event(number, **given)
    await site.bus.publish(site.names.event("lab", told), told.payload())
    return told


# --- who gets in ------------------------------------------------------------------------------------------------------


async def test_the_token_may_come_in_the_header(http: HttpServer) -> None:
    async with program(http) as one:
        hello = await one.told()
        assert (hello["type"], hello["principal"], hello["sites"]) == ("hello", "default", ["lab"])
    async with program(http, headers={"Authorization": f"Bearer {OTHER}"}) as two:
        assert (await two.told())["principal"] == "dashboard"


async def test_a_browser_may_send_it_as_a_subprotocol(http: HttpServer) -> None:
    async with program(http, headers={}, protocols=["proxmox-mcp", f"bearer.{OTHER}"]) as browser:
        assert browser.socket.protocol == "proxmox-mcp"
        assert (await browser.told())["principal"] == "dashboard"


async def test_a_browser_may_send_it_first(http: HttpServer, site: Site) -> None:
    async with program(http, "?snapshot=true", headers={}) as browser:
        await browser.say(type="auth", token=TOKEN)
        assert (await browser.told())["principal"] == "default"
        assert (await browser.told())["type"] == "snapshot"


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Authorization": "Bearer wrong"}},
        {"headers": {"Authorization": f"Basic {TOKEN}"}},
        {"headers": {}, "protocols": ["proxmox-mcp", "bearer.wrong"]},
        {"headers": {"Authorization": "Bearer wrong"}, "protocols": [f"bearer.{TOKEN}"]},
    ],
)
async def test_a_wrong_token_ends_it_before_it_begins(http: HttpServer, options: dict[str, Any]) -> None:
    assert await refusal(http, **options) == 401


@pytest.mark.parametrize(
    "first",
    [
        {"type": "auth", "token": "wrong"},
        {"type": "subscribe"},
        {"type": "snapshot"},
        {"type": "auth", "token": TOKEN, "more": 1},
    ],
)
async def test_nothing_is_told_before_the_token(http: HttpServer, site: Site, first: dict[str, Any]) -> None:
    async with program(http, "?snapshot=true", headers={}) as stranger:
        await happen(site, 1)
        await stranger.say(**first)
        message = await stranger.socket.receive(timeout=LONG)
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert stranger.socket.close_code == 4401
    assert 'proxmox_ws_dropped_total{reason="token"} 1.0' in await figures(http)


async def test_who_sends_no_token_is_let_go(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "TOKEN_WITHIN", 0.1)
    async with program(http, headers={}) as silent:
        assert await silent.closed() == 4401


async def test_without_tokens_it_is_open_as_mcp_is(state: State) -> None:
    server = build_server(Settings(), state)
    async with HttpServer(server, host="127.0.0.1", port=0) as http, program(http, headers={}) as anybody:
        assert (await anybody.told())["principal"] == "http"


async def test_there_is_a_bound_on_clients(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "MAX_OF_ONE", 1)
    async with program(http) as first:
        await first.told()
        assert await refusal(http) == 429
        async with program(http, headers={}) as late:
            await late.say(type="auth", token=TOKEN)
            assert await late.closed() == 1013
        monkeypatch.setattr(ws, "MAX_CLIENTS", 1)
        assert await refusal(http, headers={"Authorization": f"Bearer {OTHER}"}) == 503
    assert 'proxmox_ws_dropped_total{reason="limit"} 3.0' in await figures(http)


async def test_those_without_a_token_keep_nobody_out(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "MAX_UNPROVEN", 1)
    async with program(http, headers={}) as stranger:
        await stranger.socket.ping()
        assert await refusal(http, headers={}) == 503
        async with program(http) as known:
            assert (await known.told())["type"] == "hello"


# --- states -----------------------------------------------------------------------------------------------------------


async def states(one: Program) -> dict[tuple[str, str, str], Any]:
    found: dict[tuple[str, str, str], Any] = {}
    while True:
        part = await one.next("snapshot")
        found |= {(s["site"], s["kind"], s["id"]): s["value"] for s in part["states"]}
        if not part["more"]:
            return found


async def test_a_snapshot_is_all_there_is_now(http: HttpServer, site: Site) -> None:
    async with program(http, "?snapshot=true&states=*") as one:
        found = await states(one)
    assert {key[2] for key in found if key[1] == "guest"} == {str(vmid) for vmid in site.vmids}
    assert found["lab", "guest", "100"] == json.loads(site.guest(100).payload())
    assert found["lab", "site_state", None] == "online"  # type: ignore[index]
    assert ("lab", "storage", "pve1/local") in found


async def test_approvals_are_not_streamed(http: HttpServer, site: Site) -> None:
    waiting = Approval(
        id="a" * 32, site="lab", action="guest.stop", title="Stop", risk="change", target="guest 100",
        requester="dashboard", channel="http", digest="d", created_at=now(), expires_at=now(-900),
    )  # fmt: skip
    async with program(http, "?states=*&snapshot=true") as one:
        await one.told()
        await site.put("approval", waiting, id=waiting.id)
        await site.put("guest", site.guest(101, name="renamed"), vmid=101)
        assert (await one.next("state"))["kind"] == "guest"
        await one.say(type="snapshot")
        assert "approval" not in {kind for _, kind, _ in await states(one)}


async def test_a_large_snapshot_comes_in_parts(http: HttpServer, site: Site) -> None:
    site.guests = 450
    await site.publish()
    async with program(http, "?states=guest") as one:
        await one.told()
        await one.say(type="snapshot")
        first = await one.next("snapshot")
        assert first["more"]
        assert len(first["states"]) == 200


async def test_a_change_is_told_and_an_end_too(http: HttpServer, site: Site) -> None:
    async with program(http, "?states=guest") as one:
        await one.told()
        await site.put("guest", site.guest(101, name="renamed"), vmid=101)
        message = await one.next("state")
        assert (message["site"], message["kind"], message["id"]) == ("lab", "guest", "101")
        assert message["value"]["name"] == "renamed"
        await site.clear("guest", vmid=101)
        gone = await one.next("state")
        assert (gone["id"], gone["value"]) == ("101", None)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?states=node", {("lab", "node", "pve1")}),
        ("?states=guest,node", {("lab", "guest", "101"), ("lab", "node", "pve1")}),
        ("?states=g*", {("lab", "guest", "101")}),
        ("?states=", set()),
        ("?sites=elsewhere", set()),
    ],
)
async def test_only_what_is_wanted_is_told(http: HttpServer, site: Site, query: str, wanted: set[Any]) -> None:
    async with program(http, query) as one, program(http, "?kinds=") as all_of_it:
        await one.told()
        await all_of_it.told()
        await site.put("guest", site.guest(101, name="renamed"), vmid=101)
        offline = NodeState(site="lab", node="pve1", status="offline", available=False)
        await site.put("node", offline, node="pve1")
        both = {("lab", "guest", "101"), ("lab", "node", "pve1")}
        assert {key(await all_of_it.next("state")) for _ in both} == both
        got = {key(await one.next("state")) for _ in wanted}
        await one.say(type="ping")
        while (message := await one.told())["type"] != "pong":
            got.add(key(message))
        assert got == wanted


def key(message: dict[str, Any]) -> tuple[str, str, str]:
    return message["site"], message["kind"], message["id"]


# --- events -----------------------------------------------------------------------------------------------------------


async def test_an_event_is_told_once_and_whole(http: HttpServer, site: Site) -> None:
    await happen(site, 1)
    async with program(http, "?states=") as one:
        await one.told()
        told = await happen(site, 2)
        await happen(site, 2)
        await happen(site, 3)
        first, second = await one.next("event"), await one.next("event")
    assert first["event"] == json.loads(told.payload())
    assert second["event"]["id"] != first["event"]["id"], "an event that is told twice comes once"


async def test_the_retained_list_fills_a_gap_and_repeats_nothing(http: HttpServer, site: Site) -> None:
    """What was in it before is not news; what came while the connection was lost is told from it."""
    old, live = [event(n, site="lab", kind="node.online") for n in (1, 2)]
    await site.put("events", EventList(events=(old,)))
    async with program(http, "?states=") as one:
        await one.told()
        await site.bus.publish(site.names.event("lab", live), live.payload())
        lost = event(3, site="lab", kind="node.online")
        await site.put("events", EventList(events=(lost, live, old)))
        assert [(await one.next("event"))["event"]["id"] for _ in range(2)] == [live.id, lost.id]
        await one.say(type="ping")
        assert (await one.told())["type"] == "pong"


async def test_events_are_chosen_by_severity_kind_and_site(http: HttpServer, site: Site) -> None:
    query = "?states=&kinds=backup.*,guest.started&min_severity=error&sites=lab"
    async with program(http, query) as one:
        hello = await one.told()
        assert hello["subscription"]["kinds"] == ["backup.*", "guest.started"]
        await happen(site, 1, severity="warning")
        await happen(site, 2, kind="node.offline", severity="critical")
        wanted = await happen(site, 3, kind="backup.job.failed", severity="critical")
        assert (await one.told())["event"]["id"] == wanted.id


async def test_what_is_wanted_can_be_changed(http: HttpServer, site: Site) -> None:
    async with program(http, "?states=&kinds=nothing") as one:
        await one.told()
        await happen(site, 1)
        await one.say(type="subscribe", kinds=["backup.*"], states=["guest"], snapshot=True)
        answer = await one.next("subscribed")
        assert answer["subscription"]["states"] == ["guest"]
        assert len(await states(one)) == len(site.vmids)
        second = await happen(site, 2)
        assert (await one.next("event"))["event"]["id"] == second.id


async def test_several_programs_are_told_at_once(http: HttpServer, site: Site) -> None:
    async with program(http, "?states=") as one, program(http, "?states=", headers={}) as two:
        await two.say(type="auth", token=OTHER)
        await one.told()
        await two.told()
        told = await happen(site, 1)
        assert [(await each.next("event"))["event"]["id"] for each in (one, two)] == [told.id] * 2
        assert "proxmox_ws_clients 2.0" in await figures(http)
    async with asyncio.timeout(LONG):
        while "proxmox_ws_clients 0.0" not in await figures(http):
            await asyncio.sleep(0.05)


# --- what is not right ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["?min_severity=bad", "?states=" + "x" * 200, "?other=1", "?kinds=" + ",".join("abc" * 30)]
)
async def test_a_wrong_query_is_refused(http: HttpServer, query: str) -> None:
    assert await refusal(http, query) == 400


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"type": "start", "vmid": 100}',
        '{"type": "subscribe", "kinds": "backup"}',
        '{"type": "auth", "token": "secret-that-is-not-repeated", "x": 1}',
        "[" * 10_000,
    ],
)
async def test_a_wrong_message_ends_it_with_a_reason(http: HttpServer, text: str) -> None:
    async with program(http, "?states=&kinds=") as one:
        await one.told()
        await one.socket.send_str(text)
        error = await one.told()
        assert error["type"] == "error"
        assert "secret-that-is-not-repeated" not in error["message"]
        assert await one.closed() == 1008


async def test_a_message_that_is_too_large_ends_it(http: HttpServer) -> None:
    async with program(http, "?states=&kinds=") as one:
        await one.told()
        await one.socket.send_str(json.dumps({"type": "ping", "x": "y" * ws.MAX_MESSAGE}))
        assert await one.closed() == 1009


async def test_who_does_not_read_is_let_go_and_counted(
    http: HttpServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ws, "MAX_EVENTS", 50)
    monkeypatch.setattr(ws, "SENT_WITHIN", 600.0)  # so that it is the number of events that decides
    async with program(http, "?states=") as slow, program(http, "?states=&min_severity=critical") as quick:
        await slow.told()
        await quick.told()
        text, number = "x" * 8000, 0
        async with asyncio.timeout(60):
            while 'reason="slow"} 1.0' not in await figures(http):
                for _ in range(100):
                    number += 1
                    await happen(site, number, message=text)
                await asyncio.sleep(0)
        last = await happen(site, number + 1, severity="critical")
        assert (await quick.next("event"))["event"]["id"] == last.id


async def test_a_slow_one_gets_the_last_of_each_state(http: HttpServer, site: Site) -> None:
    """What changes faster than it is read is told less often, never late."""
    async with program(http, "?states=guest&kinds=") as one:
        await one.told()
        for number in range(3000):
            await site.put("guest", site.guest(101, name=f"name{number}", ips=("10.0.0.1",) * 50), vmid=101)
        async with asyncio.timeout(LONG):
            while (await one.next("state"))["value"]["name"] != "name2999":
                pass


async def test_it_ends_with_the_server(settings: Settings, state: State) -> None:
    running = HttpServer(build_server(settings, state), host="127.0.0.1", port=0)
    await running.__aenter__()
    async with program(running) as one:
        await one.told()
        await running.__aexit__(None, None, None)
        await one.closed()
        await until(lambda: one.socket.closed)
