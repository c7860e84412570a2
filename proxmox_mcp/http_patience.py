"""An HTTP connection that does not wait for ever: a request has to be there, head and body, within a time.

uvicorn bounds only the pause between two requests. A client that opens connections and sends a byte now and then
would hold them all.
"""

import asyncio
import logging
from collections import Counter
from typing import ClassVar, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

log = logging.getLogger(__name__)

WHOLE: Final = 20.0  # seconds until a request has come in whole
SENDING = frozenset({h11.IDLE, h11.SEND_BODY})  # the client still owes something


class PatientProtocol(H11Protocol):
    """Closes a connection on which a request does not come in whole in time."""

    whole: ClassVar[float] = WHOLE
    slow: ClassVar[Counter[str]] = Counter()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A first request is expected at once."""
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """More of a request, or the last of it."""
        super().data_received(data)
        upgraded = self.transport.get_protocol() is not self  # to a WebSocket, which has its own times
        if upgraded or self.conn.their_state not in SENDING:
            self._forget()
        elif self._deadline is None:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._forget()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(self.whole, self._too_slow)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self.slow["slow"] += 1
        log.debug("Closed a connection whose request did not come in within %g s", self.whole)
        self.transport.close()


def patient(whole: float, refused: Counter[str]) -> type[PatientProtocol]:
    """The protocol class for uvicorn, which makes the objects itself."""
    return type("PatientProtocol", (PatientProtocol,), {"whole": whole, "slow": refused})
