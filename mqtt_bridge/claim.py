"""A site has one writer. Before we publish, and while we do, look whether another bridge is at it."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import Heartbeat
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.topics import Topics

log = logging.getLogger(__name__)

LOOK = 0.7  # seconds in which a broker has sent what it holds
GRACE = 2.0  # seconds beside one and a half intervals in which a live writer beats


class SiteTakenError(BridgeError):
    """Another bridge publishes one of our sites."""


def rival_in(message: Message, names: Topics, me: Writer, sites: Iterable[str]) -> tuple[str, Heartbeat] | None:
    """The heartbeat of another writer of one of our sites."""
    parsed = names.parse(message.topic)
    if parsed is None or parsed.kind.name != "heartbeat" or parsed.site not in sites or not message.payload:
        return None
    try:
        beat = Heartbeat.model_validate_json(message.payload)
    except ValidationError:
        return None
    return (parsed.site, beat) if beat.instance and beat.instance != me.instance else None


def yields_to(me: Writer, rival: Heartbeat) -> bool:
    """Of two that run at once the later one gives way (the larger id, if they started in the same second)."""
    return (me.since, me.instance) > (rival.since, rival.instance)


class Claim:
    """Looks at the broker over a connection of its own, which has no will and leaves no trace."""

    def __init__(
        self, options: BrokerOptions, names: Topics, sites: Sequence[str], me: Writer, *, previous: str = ""
    ) -> None:
        self._options = options
        self._names = names
        self._sites = frozenset(sites)
        self._me = me
        self._previous = previous
        self._beats: dict[str, Heartbeat] = {}
        self._live: set[str] = set()
        self._bridges: dict[str, str] = {}

    async def make(self, *, standby: bool) -> None:
        """Return when nobody else writes our sites; raises SiteTakenError, or with `standby` waits until it is so."""
        async with Broker(self._options, self._take, role="claim") as broker:
            await broker.wait_connected()
            await broker.subscribe([self._names.filter("heartbeat"), self._names.filter("bridge_state")])
            await asyncio.sleep(LOOK)
            while taken := await self._taken():
                site, beat = taken
                if not standby:
                    raise SiteTakenError(
                        f"Site {site} is already published by bridge {beat.bridge!r} on {self._options.address}.",
                        cure="Stop that one, give this one other sites, or start it with --standby to take over later.",
                    )
                log.info("Standing by: bridge %s publishes site %s", beat.bridge, site)
                await asyncio.sleep(beat.interval_s)

    async def _taken(self) -> tuple[str, Heartbeat] | None:
        suspects = {s: b for s, b in self._beats.items() if self._bridges.get(b.bridge) == "online"}
        if not suspects:
            return None
        self._live.clear()
        until = time.monotonic() + max(b.interval_s for b in suspects.values()) * 1.5 + GRACE
        while time.monotonic() < until:
            for site in suspects:
                if site in self._live:
                    return site, self._beats[site]
            await asyncio.sleep(0.1)
        return None

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            parsed = self._names.parse(message.topic)
            if parsed is not None and parsed.kind.name == "bridge_state":
                self._bridges[parsed.ids["bridge"]] = message.payload.decode(errors="replace")
            found = rival_in(message, self._names, self._me, self._sites)
            if found and found[1].instance != self._previous:
                self._beats[found[0]] = found[1]
                if not message.retain:
                    self._live.add(found[0])
