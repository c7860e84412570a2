"""What runs together: the bridge, the mirror and the MCP server, as `serve`, `http` and `stdio` need them."""

import argparse
import asyncio
import dataclasses
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mqtt_bridge import logs
from mqtt_bridge.model import utc
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Bus, OnMessages
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import Settings, load
from mqtt_bridge.statedir import LocalOwner, broker_options, local_owner
from mqtt_bridge.topics import Topics
from proxmox_mcp.control import Control, deciding
from proxmox_mcp.elicit import Elicitation
from proxmox_mcp.event_metrics import event_rows
from proxmox_mcp.metrics import Metrics, Row
from proxmox_mcp.server import ProxmoxServer, build_server, run_stdio
from proxmox_mcp.state import Fallback, State

if TYPE_CHECKING:
    from mqtt_bridge.app import Bridge

log = logging.getLogger(__name__)

OWNER_LOOK = 2.0  # seconds between two looks for the owner of our STATE_DIR
MAX_PACKET = 4 << 20  # bytes of one message that a mirror takes: the manifest of a very large site fits


def bus_factory(options: BrokerOptions, role: str) -> Callable[[OnMessages], AbstractAsyncContextManager[Bus]]:
    """Connections to one broker, as a mirror wants them."""
    return lambda on_messages: Broker(options, on_messages, role=role, max_packet=MAX_PACKET)


def find_broker(settings: Settings) -> LocalOwner | None:
    """The configured broker, else that of the bridge that owns our STATE_DIR; None: there is none to read from."""
    configured = broker_options(settings.mqtt)
    if configured:
        return LocalOwner(configured, settings.mqtt.base_topic)
    return local_owner(settings.general.state_dir)


@asynccontextmanager
async def private_poller(settings: Settings) -> AsyncIterator[Loopback]:
    """A poller of our own, with no broker: what reads fall back on while no bridge is online."""
    from mqtt_bridge.events.events import Events  # noqa: PLC0415 -- not before it is needed
    from mqtt_bridge.pollers import Pollers  # noqa: PLC0415
    from mqtt_bridge.proxmox.pulse import Writer  # noqa: PLC0415

    writer = Writer("private", secrets.token_hex(8), utc(time.time()) or "")
    async with Pollers(settings, writer) as pollers, Events(pollers) as events:
        pollers.poll()
        events.listen(settings.events.enabled & {"WEBSOCKET"})
        yield pollers.loopback


async def _expect_beside(state_dir: Path, site: str, node: str, why: str) -> None:
    from mqtt_bridge.notifying.maintenance import expect_beside  # noqa: PLC0415 -- seldom needed: `stdio` starts without it

    await expect_beside(state_dir, site, node, why)


class Served:
    """`async with` it: the bridge and the MCP server over HTTP in one process. `url` is where MCP answers."""

    def __init__(
        self,
        settings: Settings,
        *,
        host: str | None = None,
        port: int | None = None,
        embedded_port: int | None = None,
        standby: bool = False,
    ) -> None:
        from mqtt_bridge.app import Bridge  # noqa: PLC0415 -- `stdio` needs none of it

        self.bridge: Bridge = Bridge(settings, standby=standby, embedded_port=embedded_port)
        self.state: State
        self.url = ""
        self._settings = settings
        self._address = (host, port)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from proxmox_mcp.http import HttpServer  # noqa: PLC0415

        async with AsyncExitStack() as stack:
            bridge = await stack.enter_async_context(self.bridge)
            self.state = await stack.enter_async_context(self._state(bridge))
            metrics = Metrics()
            metrics.watch(bridge.pollers.clients)
            metrics.sources.append(lambda: bridge_rows(bridge))
            clients = bridge.pollers.clients
            approvals = bridge.approvals
            actions = Control(
                self._settings, clients, approvals, after=bridge.pollers.refresh, expecting=bridge.maintenance.expect
            )
            elicitation = Elicitation(approvals, approvals.settings.timeout)
            server = build_server(self._settings, self.state, actions, clients, metrics, elicitation=elicitation)
            host, port = self._address
            http_server = HttpServer(server, host=host, port=port, healthy=lambda: healthy(bridge))
            self.url = (await stack.enter_async_context(http_server)).url
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _state(self, bridge: "Bridge") -> State:
        @asynccontextmanager
        async def own_poller() -> AsyncIterator[Loopback]:
            yield bridge.pollers.loopback

        sites = [s.slug for s in self._settings.sites]
        return State(bus_factory(bridge.options, "mcp"), own_poller, names=bridge.pollers.retained.names, sites=sites)


def healthy(bridge: "Bridge") -> bool:
    """What /health says: the broker takes what we publish, a site answers, and events come in and are written down."""
    states = [inventory.pulse.status for inventory in bridge.pollers.inventories.values()]
    polled = any(state not in (None, "offline") for state in states)
    return bridge.broker.connected and polled and bridge.events.healthy


def bridge_rows(bridge: "Bridge") -> list[Row]:
    """Polls, publishes and events, for /metrics."""
    stats = bridge.pollers.retained.stats
    text = "Publishes of retained topics, by outcome"
    rows = [
        Row("proxmox_mqtt_publishes_total", "counter", text, stats[name], {"outcome": name})
        for name in ("published", "refused", "foreign_writes", "leftovers")
    ]
    rows.append(Row("proxmox_mqtt_connected", "gauge", "Whether the bridge has its broker", bridge.broker.connected))
    for site, inventory in bridge.pollers.inventories.items():
        pulse, labels = inventory.pulse, {"site": site}
        rows += [
            Row("proxmox_polls_total", "counter", "Polls of a site", pulse.polls, labels),
            Row("proxmox_failed_polls_total", "counter", "Polls that brought nothing", pulse.failed_polls, labels),
        ]
    return [*rows, *event_rows(bridge.events)]


@asynccontextmanager
async def _reader(settings: Settings, role: str) -> AsyncIterator[ProxmoxServer]:
    """The MCP server of a process that starts no bridge."""
    found = find_broker(settings)
    fallback: Fallback = lambda: private_poller(settings)  # noqa: E731 -- typed by its name
    sites = [s.slug for s in settings.sites]
    names = Topics(found.base_topic if found else settings.mqtt.base_topic)
    async with AsyncExitStack() as stack:
        clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
        bus = bus_factory(found.options, role) if found else None
        state = await stack.enter_async_context(State(bus, fallback if clients else None, names=names, sites=sites))
        if not settings.mqtt.host:
            following = asyncio.create_task(_follow_owner(settings, state, found, role), name="owner")
            stack.callback(following.cancel)
        metrics = Metrics()
        metrics.watch(clients)
        expecting = partial(_expect_beside, settings.general.state_dir)
        approvals = await stack.enter_async_context(deciding(settings, found.options if found else None, names))
        actions = Control(settings, clients, approvals, expecting=expecting)
        elicitation = Elicitation(approvals, settings.approval.timeout)
        yield build_server(settings, state, actions, clients, metrics, elicitation=elicitation)


async def _follow_owner(settings: Settings, state: State, known: LocalOwner | None, role: str) -> None:
    """A bridge with a broker of its own may come later than we do, or come back at another port."""
    base = known.base_topic if known else settings.mqtt.base_topic
    while True:
        await asyncio.sleep(OWNER_LOOK)
        owner = local_owner(settings.general.state_dir)
        if owner and owner != known and owner.base_topic == base:
            known = owner
            await state.adopt(bus_factory(owner.options, role))


def _start(arguments: argparse.Namespace) -> Settings:
    settings = load(os.environ, arguments.env_file)
    if getattr(arguments, "host", None):
        # the rule on listening beyond loopback must judge the address that is really used
        settings = dataclasses.replace(settings, mcp=dataclasses.replace(settings.mcp, host=arguments.host))
    logs.begin(settings)
    return settings


async def serve(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp serve`."""
    from mqtt_bridge.__main__ import stop_signals  # noqa: PLC0415

    settings = _start(arguments)
    async with Served(settings, host=arguments.host, port=arguments.port, standby=arguments.standby) as served:
        log.info("MCP answers at %s", served.url)
        await asyncio.wait([stop_signals(), served.bridge.fatal], return_when=asyncio.FIRST_COMPLETED)
        if served.bridge.fatal.done():
            served.bridge.fatal.result()
    return 0


async def http(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp http`."""
    from mqtt_bridge.__main__ import stop_signals  # noqa: PLC0415
    from proxmox_mcp.http import HttpServer  # noqa: PLC0415

    settings = _start(arguments)
    async with _reader(settings, "http") as server, HttpServer(server, host=arguments.host, port=arguments.port) as web:
        log.info("MCP answers at %s", web.url)
        await stop_signals()
    return 0


async def stdio(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp stdio [--connect URL]`."""
    if arguments.connect:
        from proxmox_mcp.connect import connect  # noqa: PLC0415 -- only where it is wanted

        return await connect(arguments)
    async with _reader(_start(arguments), "stdio") as server:
        await run_stdio(server)
    return 0
