"""What is asked of a Gotify server: messages, the applications' names, the stream. The token is in a header only."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.listeners.gotify_messages import Message, message_of
from mqtt_bridge.settings.listening import GotifyInSettings

PAGE_SIZES = (200, 20, 1)  # the next one where an answer is too large
MAX_ANSWER = 16 * 1024 * 1024
MAX_FRAME = 4 * 1024 * 1024
HEARTBEAT = 20.0  # seconds between pings; half of it without an answer, and the server is gone
_LIMIT = aiohttp.ClientTimeout(total=30, connect=10)
_FIRST_ID = re.compile(rb'"messages":\s*\[\s*\{\s*"id":\s*(\d{1,18})\b')
_LOGIN_CURE = (
    "Create a client in Gotify (CLIENTS, CREATE CLIENT) and write its token into GOTIFY_IN_CLIENT_TOKEN; an "
    "application's token cannot read."
)


class GotifyError(BridgeError):
    """The server is not reached, or answers otherwise than Gotify does."""


class GotifyLoginError(GotifyError):
    """The token is refused: trying again soon is of no use."""


class _TooLargeError(Exception):
    """An answer beyond MAX_ANSWER; `begin` is what was read of it."""

    def __init__(self, begin: bytes) -> None:
        super().__init__("too large")
        self.begin = begin


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `next` is where the next page begins; 0: this is the last."""

    messages: tuple[Message, ...]
    next: int


class GotifyClient:
    """`async with` it. Raises GotifyError and GotifyLoginError."""

    def __init__(self, settings: GotifyInSettings) -> None:
        self._settings = settings
        self._base = URL(settings.server_url.rstrip("/") or "http://localhost")
        self._session: aiohttp.ClientSession

    @property
    def where(self) -> str:
        """For people: without user and query."""
        return str(self._base.with_user(None).with_query(None))

    async def __aenter__(self) -> Self:
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(self._redirected)
        token = self._settings.client_token
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._settings.verify),
            headers={"X-Gotify-Key": token.reveal() if token else ""},
            trace_configs=[tracing],
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def page(self, since: int = 0) -> Page:
        """Messages below `since`, 0: the newest."""
        begin = b""
        for limit in PAGE_SIZES:
            try:
                return _page(await self._get("message", limit=limit, since=since))
            except _TooLargeError as error:
                begin = error.begin
        found = _FIRST_ID.search(begin)
        if not found:
            raise GotifyError("A message of the Gotify server is too large to be read.", cure="Delete it there.")
        number = int(found[1])
        return Page((Message(number),), number)

    async def apps(self) -> dict[int, str] | None:
        """Names by number; None where the server does not tell them to a client."""
        try:
            rows = await self._get("application")
        except (GotifyError, _TooLargeError):
            return None
        if not isinstance(rows, list):
            return None
        named = (row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), int))
        return {row["id"]: str(row.get("name", ""))[:100] for row in named}

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Connected: whatever is posted from now on comes in."""
        try:
            stream = await self._session.ws_connect(
                self._base / "stream",
                heartbeat=HEARTBEAT,
                max_msg_size=MAX_FRAME,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise self._refused(error.status, "/stream") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unreachable(error) from error
        try:
            yield stream
        finally:
            await stream.close()

    async def _get(self, path: str, **query: int) -> Any:
        """One answer as JSON."""
        try:
            async with self._session.get(
                self._base / path, params=query, allow_redirects=False, timeout=_LIMIT
            ) as answer:
                body = await _bounded(answer)
                status = answer.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unreachable(error) from error
        if status != 200:  # noqa: PLR2004 -- the one success of these
            raise self._refused(status, f"/{path}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise GotifyError(
                f"{self.where} does not answer like a Gotify server.", cure="Check GOTIFY_IN_SERVER_URL."
            ) from None

    async def _redirected(self, *_: object) -> None:
        raise self._refused(302, "/stream")

    def _refused(self, status: int, path: str) -> GotifyError:
        if status in {401, 403}:
            return GotifyLoginError(f"{self.where} refuses GOTIFY_IN_CLIENT_TOKEN ({status}).", cure=_LOGIN_CURE)
        if 300 <= status < 400:  # noqa: PLR2004 -- redirects
            cure = "Write the address that it leads to into GOTIFY_IN_SERVER_URL (https instead of http?)."
            return GotifyError(f"{self.where} redirects elsewhere, and the token is not taken along.", cure=cure)
        proxy = " A proxy in front of it has to pass WebSockets on." if path == "/stream" else ""
        return GotifyError(
            f"{self.where}{path} answers {status}.", cure=f"Check GOTIFY_IN_SERVER_URL and the server.{proxy}"
        )

    def _unreachable(self, error: Exception) -> GotifyError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            cure = "Use a trusted certificate; GOTIFY_IN_VERIFY_TLS=false checks none."
            return GotifyError(f"The certificate of {self.where} is not trusted.", cure=cure)
        why = getattr(error, "strerror", None) or type(error).__name__
        return GotifyError(f"{self.where} is not reached ({why}).", cure="Check GOTIFY_IN_SERVER_URL and the server.")


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            answer.close()
            raise _TooLargeError(bytes(body[:1000]))
    return bytes(body)


def _page(answer: Any) -> Page:
    if not isinstance(answer, dict) or not isinstance(answer.get("messages"), list):
        raise GotifyError(
            "A list of messages was expected.", cure="Check that GOTIFY_IN_SERVER_URL is a Gotify server."
        )
    messages = tuple(found for row in answer["messages"] if (found := message_of(row)))
    paging = answer.get("paging")
    more = isinstance(paging, dict) and paging.get("next") and isinstance(paging.get("since"), int)
    return Page(messages, paging["since"] if isinstance(paging, dict) and more else 0)
