"""METRICS: Proxmox pushes figures to us as to an InfluxDB server, over HTTP or UDP; they become the metrics topics.

A push can be forged, so it makes no event, changes no state, and counts only for guests and nodes that a poll has seen.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import Protocol

from mqtt_bridge.events.intake import Intake
from mqtt_bridge.listeners import line_protocol
from mqtt_bridge.listeners.datagrams import Datagram, Datagrams
from mqtt_bridge.listeners.http_server import HttpServer, Limits
from mqtt_bridge.listeners.metrics_figures import FIELDS, Figures, SitesOf, target, wanted
from mqtt_bridge.listeners.metrics_http import BODY_TIME, InfluxApi
from mqtt_bridge.listeners.sockets import Place, bind_patiently, explained, pauses, shown
from mqtt_bridge.listeners.sources import Sources
from mqtt_bridge.model import GuestMetrics, NodeMetrics
from mqtt_bridge.settings import is_loopback
from mqtt_bridge.settings.listening import MetricsInSettings

GATHER = 0.25  # seconds in which what comes is handed over together: over UDP a node's figures come in pieces
LOOK = 10.0  # seconds between two looks at what is old, and at what the kernel dropped
CHUNK = 500  # guests handed over at once
BREATH = 100  # lines read before others have their turn
DATAGRAMS = 32  # read before others have their turn
MAX_DATAGRAM = 65_507
LIMITS = Limits(connections=32, body=BODY_TIME, life=60.0)
_LINE = re.compile(rb"[^\r\n]+")
_NANO = 1e-9


class Fed(Protocol):
    """Where figures go. Answers how many of them are of known nodes and guests."""

    def take_pushed(self, site: str, nodes: Mapping[str, NodeMetrics], guests: Mapping[int, GuestMetrics]) -> int: ...


class MetricsListener:
    """An InfluxDB server as far as Proxmox sees it. `port` is that of HTTP while it runs."""

    name = "METRICS"

    def __init__(self, settings: MetricsInSettings, fed: Fed, sites_of: SitesOf, *, limits: Limits = LIMITS) -> None:
        self.port = 0
        self._settings = settings
        self._fed = fed
        self._sites_of = sites_of
        self._limits = limits
        self._sources = Sources(settings.allowed_sources)
        self._figures = Figures()
        self._some = asyncio.Event()
        self._pushers: set[tuple[str, str]] = set()

    async def run(self, intake: Intake) -> None:
        """Until cancelled."""
        if problem := unguarded(self._settings):
            intake.unhealthy(problem)
            await asyncio.get_running_loop().create_future()
        async with AsyncExitStack() as stack:
            datagrams = await self._udp(stack, intake)
            server = await self._http(stack, intake)
            self.port = server.port
            self._tell(intake)
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(), name="metrics http")
                group.create_task(self._feed(intake, datagrams), name="metrics feed")

    async def _udp(self, stack: AsyncExitStack, intake: Intake) -> Datagrams | None:
        if not self._settings.udp_port:
            return None
        sockets = await bind_patiently(udp_place(self._settings), ["udp"], intake)
        return await stack.enter_async_context(
            Datagrams(sockets, lambda found: self._datagrams(found, intake), size=MAX_DATAGRAM, burst=DATAGRAMS)
        )

    async def _http(self, stack: AsyncExitStack, intake: Intake) -> HttpServer:
        settings = self._settings

        async def write(body: bytes, unit: float) -> int:
            return await self._body(body, unit, intake)

        api = InfluxApi(settings.token, write, intake.reject)
        for pause in pauses():
            server = HttpServer(api.answer, settings.host, settings.port, reject=intake.reject, limits=self._limits)
            try:
                return await stack.enter_async_context(server)
            except OSError as error:
                intake.unhealthy(str(explained(error, http_place(settings))))
            await asyncio.sleep(pause)
        raise AssertionError

    def _tell(self, intake: Intake) -> None:
        settings = self._settings
        udp = f" and UDP port {settings.udp_port}" if settings.udp_port else ""
        count = len(self._pushers)
        told = f"figures of {count} node{'s' if count != 1 else ''} so far" if count else "nothing pushed yet"
        intake.healthy(f"listening on http://{shown(settings.host, self.port)}{udp}, {told}")

    # --- lines ------------------------------------------------------------------------------------------------------

    def _datagrams(self, found: Sequence[Datagram], intake: Intake) -> bool:
        counts: Counter[str] = Counter()
        for data, sender in found:
            if self._sources.allows(sender):
                if not sum(self._line(line[0], _NANO, counts) for line in _LINE.finditer(data)):
                    counts["no Proxmox metrics"] += 1
            else:
                counts["source not allowed"] += 1
        _count(counts, intake)
        return True

    async def _body(self, body: bytes, unit: float, intake: Intake) -> int:
        """How many of its lines are Proxmox's."""
        counts: Counter[str] = Counter()
        lines, good = _LINE.finditer(body), 0
        while some := list(islice(lines, BREATH)):
            good += sum(self._line(line[0], unit, counts) for line in some)
            await asyncio.sleep(0)
        _count(counts, intake)
        return good

    def _line(self, line: bytes, unit: float, counts: Counter[str]) -> bool:
        """Take one line in. Whether it is Proxmox's, read or not; what is wrong with it is counted."""
        if not wanted(line):
            return b",object=" in line
        point = line_protocol.parse(line, FIELDS)
        found = target(point) if point else None
        if point is None or found is None:
            counts["malformed line"] += 1
            return False
        node, vmid = found
        site = self._site(node, vmid)
        if site is None:
            counts["unknown node"] += 1
            return True
        at = time.time() if point.time is None else point.time * unit
        if vmid is None:
            self._figures.node(site, node, point, at)
        else:
            self._figures.guest(site, vmid, point, at)
        self._some.set()
        return True

    def _site(self, node: str, vmid: int | None) -> str | None:
        """The only site that has this node; where several do, the only one of them that has the guest, too."""
        sites = self._sites_of(node, None)
        if len(sites) > 1 and vmid is not None:
            having = set(self._sites_of(None, vmid))
            sites = [site for site in sites if site in having]
        return sites[0] if len(sites) == 1 else None

    # --- figures ----------------------------------------------------------------------------------------------------

    async def _feed(self, intake: Intake, datagrams: Datagrams | None) -> None:
        looked = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await self._some.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(GATHER)
                await self._hand_over(intake)
            if time.monotonic() - looked >= LOOK:
                looked = time.monotonic()
                self._figures.forget()
                if datagrams and (dropped := datagrams.newly_dropped()):
                    intake.reject("dropped by the kernel", dropped)

    async def _hand_over(self, intake: Intake) -> None:
        self._some.clear()
        for site, (nodes, guests) in self._figures.taken().items():
            known = self._fed.take_pushed(site, nodes, {})
            for chunk in _chunks(guests):
                known += self._fed.take_pushed(site, {}, chunk)
                await asyncio.sleep(0)
            if unknown := len(nodes) + len(guests) - known:
                intake.reject("unknown guest or node", unknown)
            before = len(self._pushers)
            self._pushers.update((site, name) for name in nodes)
            if len(self._pushers) != before:
                self._tell(intake)


def unguarded(settings: MetricsInSettings) -> str:
    """Why it will not listen; empty when nothing is wrong."""
    if is_loopback(settings.host) or settings.token:
        return ""
    return (
        f"EVENT_METRICS_LISTEN_HOST={settings.host} is reachable from other machines: set EVENT_METRICS_TOKEN (openssl "
        f"rand -hex 32) and give the same token to Proxmox's metric server, or listen on 127.0.0.1."
    )


def http_place(settings: MetricsInSettings) -> Place:
    return Place(settings.host, settings.port, "EVENT_METRICS_LISTEN_HOST", "EVENT_METRICS_LISTEN_PORT")


def udp_place(settings: MetricsInSettings) -> Place:
    return Place(settings.host, settings.udp_port, "EVENT_METRICS_LISTEN_HOST", "EVENT_METRICS_UDP_PORT")


def _chunks(guests: dict[int, GuestMetrics]) -> Iterator[dict[int, GuestMetrics]]:
    rows = iter(guests.items())
    while chunk := dict(islice(rows, CHUNK)):
        yield chunk


def _count(counts: Counter[str], intake: Intake) -> None:
    for reason, count in counts.items():
        intake.reject(reason, count)
