"""SYSLOG: what hosts forward over UDP and TCP.

Syslog has no acknowledgement. Accepted means read and committed: what was read waits in a bounded backlog until the
journal has it, and while that is full nothing is read, so that TCP senders wait and the kernel drops (and counts) UDP.
Anyone can write a datagram with any sender, so that nothing of it is more than `unauthenticated`.
"""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from mqtt_bridge import wording
from mqtt_bridge.events.intake import Intake, Report
from mqtt_bridge.listeners.datagrams import Datagram, Datagrams
from mqtt_bridge.listeners.sockets import Place, Protocol, bind_patiently, shown
from mqtt_bridge.listeners.sources import Sources
from mqtt_bridge.listeners.syslog_backlog import Backlog, Message
from mqtt_bridge.listeners.syslog_frames import LIMIT
from mqtt_bridge.listeners.syslog_handover import Handover
from mqtt_bridge.listeners.syslog_tcp import Limits, Streams
from mqtt_bridge.settings import is_loopback
from mqtt_bridge.settings.listening import SyslogSettings

log = logging.getLogger(__name__)

FLUSH = 2.0  # seconds at the end to commit what was read

_RFC5424 = re.compile(rb"<[0-9]{1,3}>[1-9][0-9]{0,2} ")
_REFUSED = {"auto": None, "rfc3164": True, "rfc5424": False}  # by whether it is RFC 5424


class SyslogListener:
    """Syslog over UDP and TCP on one port; `port` is the one in use while it runs."""

    name = "SYSLOG"

    def __init__(self, settings: SyslogSettings, *, limits: Limits | None = None) -> None:
        self.port = 0
        self._settings = settings
        self._sources = Sources(settings.allowed_sources)
        self._limits = limits
        self._backlog = Backlog()
        self._refused = 0
        self._handover = Handover(self._backlog, self._report, self._tell)
        self._instance = secrets.token_hex(8)
        self._number = itertools.count(1)

    @property
    def read(self) -> int:
        """Messages read from sockets since the start, refused ones among them."""
        return self._backlog.total + self._refused

    async def run(self, intake: Intake) -> None:
        """Until cancelled; then what was read is still committed, if that goes fast."""
        if problem := self.unguarded():
            intake.unhealthy(problem)
            await asyncio.get_running_loop().create_future()
        try:
            await self._serve(intake)
        except asyncio.CancelledError:  # reading has stopped, and senders of syslog never send again what was read
            if lost := await self._handover.flush(intake, FLUSH):
                intake.reject("not committed before the end", lost)
                log.warning("%d syslog messages that were read could not be committed before the end", lost)
            raise

    def unguarded(self) -> str:
        """Why it will not listen; empty when nothing is wrong."""
        host = self._settings.host
        if is_loopback(host) or self._sources:
            return ""
        return (
            f"EVENT_SYSLOG_LISTEN_HOST={host} is reachable from other machines, and nothing says who may send. Name "
            f"the Proxmox hosts in EVENT_SYSLOG_ALLOWED_SOURCES (addresses or networks), or listen on 127.0.0.1."
        )

    @property
    def place(self) -> Place:
        """Where it listens."""
        return Place(self._settings.host, self._settings.port, "EVENT_SYSLOG_LISTEN_HOST", "EVENT_SYSLOG_LISTEN_PORT")

    async def _serve(self, intake: Intake) -> None:
        protocols: list[Protocol] = [name for name in ("udp", "tcp") if name in self._settings.protocols]
        sockets = await bind_patiently(self.place, protocols, intake)
        self.port = int(sockets[0].getsockname()[1])
        udp = [each for each in sockets if each.type.name == "SOCK_DGRAM"]
        tcp = [each for each in sockets if each not in udp]
        datagrams = Datagrams(udp, lambda found: self._take(found, intake), size=LIMIT)
        async with AsyncExitStack() as stack:
            for each in sockets:
                stack.callback(each.close)
            self._backlog.on_room.append(datagrams.resume)
            stack.callback(self._backlog.on_room.remove, datagrams.resume)
            await stack.enter_async_context(datagrams)
            await stack.enter_async_context(Streams(tcp, self._sources, self._backlog, intake.reject, self._limits))
            self._tell(intake)
            await self._handover.run(intake, lambda: _count_drops(datagrams, intake))

    def _tell(self, intake: Intake) -> None:
        names = " and ".join(name.upper() for name in self._settings.protocols)
        intake.healthy(f"listening on {shown(self._settings.host, self.port)}, {names}")

    def _take(self, found: Sequence[Datagram], intake: Intake) -> bool:
        """Datagrams as they were read; False while there is no room for more."""
        now, allows = time.time(), self._sources.allows
        good = [
            Message(data[:LIMIT], sender, "udp", now, len(data) > LIMIT) for data, sender in found if allows(sender)
        ]
        if refused := len(found) - len(good):
            self._refused += refused
            intake.reject("source not allowed", refused)
        self._backlog.put(good)
        return not self._backlog.full

    def _report(self, message: Message, intake: Intake) -> Report | None:
        if reason := self._refusal(message.text):
            intake.reject(reason)
            return None
        verdict = wording.classify("syslog", message.text, now=message.at)
        metadata: dict[str, str | bool] = {"sender": message.sender, "transport": message.transport}
        if message.cut:
            intake.reject("end of a message over 8 KiB")
            metadata["cut"] = True
        return Report(
            f"{self._instance}:{next(self._number)}",
            verdict,
            "unauthenticated",
            at=message.at if verdict.at is None else verdict.at,
            metadata=metadata,
        )

    def _refusal(self, text: bytes) -> str:
        if not text.strip(b"\0 \t\r\n"):
            return "empty"
        refused = _REFUSED[self._settings.parse_format]
        if refused is not None and bool(_RFC5424.match(text)) is refused:
            return f"not {self._settings.parse_format}"
        return ""


def _count_drops(datagrams: Datagrams, intake: Intake) -> None:
    if dropped := datagrams.newly_dropped():
        intake.reject("dropped by the kernel", dropped)
