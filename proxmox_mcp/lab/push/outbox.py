"""Sends in the background: bounded, with time limits, and never in the way of the lab."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from . import loopback
from .model import Emitted, PushError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

MOST_AT_ONCE = 200
REMEMBERED = 2000


@dataclass(slots=True)
class Outbox:
    """What all hosts of a lab send through; `emitted` remembers it, oldest first."""

    timeout: float = 10.0
    """Seconds for one HTTP request, as in proxmox-notify."""
    relay: str = ""
    """`HOST:PORT` of the SMTP server that takes what hosts hand to sendmail; empty: it goes nowhere."""
    emitted: deque[Emitted] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    sending: set[asyncio.Task[None]] = field(default_factory=set)
    lost: int = 0
    """How much was dropped because too much was under way."""
    _session: ClientSession | None = None

    def submit(self, work: Coroutine[Any, Any, None]) -> None:
        """Send in the background, or drop it when `MOST_AT_ONCE` are under way."""
        if len(self.sending) >= MOST_AT_ONCE:
            work.close()
            self.lost += 1
            return
        task = asyncio.get_running_loop().create_task(work)
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self.sending:
            await asyncio.wait(self.sending)

    async def request(
        self, method: str, url: str, headers: dict[str, str], body: bytes, *, within: float | None = None
    ) -> None:
        """Ask a loopback server; anything but success is a `PushError`. Redirects and proxies are not followed."""
        try:
            loopback.require_url(url)
            target = URL(url)
            loopback.require(target.host or "")  # as the client reads it, should it differ
            limit = ClientTimeout(total=within or self.timeout)
            async with self._open().request(
                method, target, headers=headers, data=body, timeout=limit, allow_redirects=False
            ) as answer:
                await answer.content.read(65_536)
                status = answer.status
        except TimeoutError as error:
            raise PushError(f"{url}: Network Error: timed out reading response") from error
        except (ClientError, OSError, ValueError) as error:
            raise PushError(f"{url}: {error}") from error
        if status >= 300:  # noqa: PLR2004 - everything but success
            raise PushError(f"{url}: status code {status}")

    def _open(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(trust_env=False)
        return self._session

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self.sending):
            task.cancel()
        await asyncio.gather(*self.sending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
