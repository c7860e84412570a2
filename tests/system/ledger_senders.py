"""Senders that try until they are accepted, with the lab's own rendering of what Proxmox sends.

Proxmox's do not try again; a mail relay or an administrator's script does. Of some reports the answer counts as lost on
its way, and the same is sent again a moment later: by then the bridge may have been killed. Syslog has no
acknowledgement: a line is written once, and what the bridge's journal does not have was not accepted.
"""

import asyncio
import base64
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from types import TracebackType
from typing import Self

from proxmox_mcp.demo_targets import TEMPLATE
from proxmox_mcp.lab import Lab
from proxmox_mcp.lab.build import ROOT_SELF
from proxmox_mcp.lab.push import mail, senders
from proxmox_mcp.lab.push.config import Entry
from proxmox_mcp.lab.push.model import PushError, fqdn
from proxmox_mcp.lab.push.outbox import Outbox
from tests.support.dovecot import Dovecot
from tests.support.gotify import Gotify
from tests.system.ledger_happenings import Channel, Happening, channels_of, log_line, notification

PAUSE = 0.1  # seconds until a sender tries again
UNHEARD = 37  # of so many happenings one whose senders do not hear the answer
LATE = 2.0  # seconds, at most, until they try again
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Of the bridge's listeners."""

    webhook: int
    smtp: int
    syslog: int


@dataclass
class Senders:
    """`async with` it. By channel: `accepted` reports, attempts made `again`, reports `repeated` though accepted."""

    ports: Ports
    token: str
    lab: Lab
    dovecot: Dovecot
    gotify: Gotify
    accepted: Counter[Channel] = field(default_factory=Counter)
    again: Counter[Channel] = field(default_factory=Counter)
    repeated: Counter[Channel] = field(default_factory=Counter)
    _http: Outbox = field(default_factory=lambda: Outbox(timeout=5))
    _stream: asyncio.StreamWriter | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        url = f"http://{HOST}:{self.ports.webhook}"
        self._targets = {
            "webhook": _webhook(f"{url}/webhook", self.token),
            "gotify": Entry("gotify", {"name": "gotify", "server": url}, {"token": self.token}),
            "gotify_in": Entry("gotify", {"name": "gotify", "server": self.gotify.url}, {"token": "Aproxmox"}),
        }
        self._udp = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._stack.push_async_callback(self._http.close)
        self._stack.callback(self._hang_up)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def tell(self, one: Happening, channel: Channel) -> None:
        """Until it is accepted."""
        await _WAYS[channel](self, one, channel)
        self.accepted[channel] += 1

    def begin(self, number: int) -> Happening:
        """Now it happens. A task of the lab is over at once; the live watcher is to find it."""
        one = Happening(number, channels_of(number))
        if "task" not in one.channels:
            return one
        tasks = self.lab.world.tasks
        task = tasks.create(one.node, "vzdump", str(one.guest), ROOT_SELF)
        task.say(f"INFO: {one.mark}")
        tasks.finish(task, f"unable to write {one.mark}" if one.failed else "OK")
        return replace(one, at=task.endtime, upid=task.upid)

    # --- channels ----------------------------------------------------------------------------------------------------

    async def _push(self, one: Happening, channel: Channel) -> None:
        target = self._targets[channel]
        sending = senders.Sending(target, notification(one), self._http, "Proxmox VE", lambda _: "")
        await self._until_heard(one, channel, lambda: senders.SENDERS[target.kind](sending))

    async def _smtp(self, one: Happening, channel: Channel) -> None:
        composed = _mail(one)
        composed.as_bytes()  # fixes the boundary: a relay that tries again sends the same bytes
        server = mail.Server(HOST, self.ports.smtp)
        await self._until_heard(one, channel, lambda: mail.send(server, composed))

    async def _imap(self, one: Happening, channel: Channel) -> None:
        raw = _mail(one).as_bytes()
        self.dovecot.deliver(raw)
        if _unheard(one, channel):
            self.dovecot.deliver(raw)
            self.repeated[channel] += 1

    async def _syslog_tcp(self, one: Happening, channel: Channel) -> None:
        text = log_line(one).encode()
        while True:
            try:
                if self._stream is None or self._stream.is_closing():
                    _, self._stream = await asyncio.open_connection(HOST, self.ports.syslog)
            except OSError:
                self.again[channel] += 1
                await asyncio.sleep(PAUSE)
                continue
            break
        with suppress(OSError):  # written or not: nobody can know
            self._stream.write(b"%d %s" % (len(text), text))
            await self._stream.drain()

    async def _syslog_udp(self, one: Happening, channel: Channel) -> None:
        del channel
        with suppress(OSError):
            self._udp.sendto(log_line(one).encode(), (HOST, self.ports.syslog))

    async def _task(self, one: Happening, channel: Channel) -> None:
        """It was told by running."""

    async def _until_heard(self, one: Happening, channel: Channel, attempt: Callable[[], Awaitable[None]]) -> None:
        await self._until_accepted(channel, attempt)
        if _unheard(one, channel):
            await asyncio.sleep(LATE * (one.number % 7) / 6)
            await self._until_accepted(channel, attempt)
            self.repeated[channel] += 1

    async def _until_accepted(self, channel: Channel, attempt: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await attempt()
            except PushError:
                self.again[channel] += 1
                await asyncio.sleep(PAUSE)
            else:
                return

    def _hang_up(self) -> None:
        if self._stream:
            self._stream.close()


_WAYS: dict[Channel, Callable[[Senders, Happening, Channel], Awaitable[None]]] = {
    "webhook": Senders._push,
    "gotify": Senders._push,
    "gotify_in": Senders._push,
    "smtp": Senders._smtp,
    "imap": Senders._imap,
    "syslog_tcp": Senders._syslog_tcp,
    "syslog_udp": Senders._syslog_udp,
    "task": Senders._task,
}


def _unheard(one: Happening, channel: Channel) -> bool:
    """Another server's message that is posted again is another message: nobody could tell."""
    return channel != "gotify_in" and one.number % UNHEARD == 0


def _mail(one: Happening) -> EmailMessage:
    sender = f"root@{fqdn(one.node)}"
    return mail.compose(notification(one), "Proxmox VE", sender, ["proxmox@example.org"], sendmail=False)


def _webhook(url: str, token: str) -> Entry:
    """The target of docs/listeners-webhook.md."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer {{ secrets.token }}"}
    values = {
        "name": "webhook",
        "method": "post",
        "url": url,
        "header": [f"name={name},value={_b64(value)}" for name, value in headers.items()],
        "body": _b64(TEMPLATE),
    }
    return Entry("webhook", values, {"secret": [f"name=token,value={_b64(token)}"]})


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
