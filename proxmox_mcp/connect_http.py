"""The far side of `stdio --connect`: one server that speaks Streamable HTTP, as messages in and messages out.

Messages pass as they are, in both eras of the protocol; only what HTTP adds is made here: the headers, the session
(of clients before 2026), the stream for what the server says unasked. A server that was restarted has forgotten the
session: it is opened again, with the client's own words, and what the client had subscribed to is asked for again.
"""

import asyncio
import base64
import json
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from mcp_types import PROTOCOL_VERSION_META_KEY

from proxmox_mcp.connect_errors import (
    AwayError,
    BrokenError,
    ConnectionFailedError,
    RefusedError,
    SessionGoneError,
    unreachable,
)

log = logging.getLogger(__name__)

Message = dict[str, Any]
Tell = Callable[[Message], Awaitable[None]]

MAX_ANSWER: Final = 16 * 1024 * 1024  # bytes of a message of the server
PATIENCE = 15.0  # seconds that a server may be away before a request fails
FIRST_PATIENCE = 30.0  # the same for the first: it may be starting
PAUSE, LONGEST_PAUSE = 0.25, 8.0  # seconds between two attempts
SAID_WITHIN = 10.0  # seconds that a notification or an answer of the client may take
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}  # what the header Mcp-Name repeats
ONCE = frozenset({"tools/call", "subscriptions/listen"})  # not sent again where it may have arrived
SESSION, VERSION = "mcp-session-id", "mcp-protocol-version"
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_GONE, _AWAY, _OWN_FAULT = 404, frozenset({503, 429}), 500


class Remote:
    """The server at `url`. `tell` takes what it says; `web` has the token and verifies its certificate."""

    def __init__(self, url: str, web: httpx2.AsyncClient, tell: Tell, *, patience: float | None = None) -> None:
        self.url = url
        self._web = web
        self._tell = tell
        self._patience = patience
        self._hello: Message | None = None
        self._session: str | None = None
        self._version: str | None = None
        self._wishes: dict[tuple[str, str], Message] = {}
        self._renewing = asyncio.Lock()
        self._stream: asyncio.Task[None] | None = None
        self._renewals = 0

    # --- what the client says ---------------------------------------------------------------------------------------

    async def request(self, message: Message) -> None:
        """Send it, and tell the answer; where there is none to be had, an error that says why."""
        if message["method"] == "initialize":
            await self._forget()
            self._hello = message
        try:
            answer = await self._persistently(message)
        except ConnectionFailedError as error:
            log.error("%s: %s", message["method"], error)  # noqa: TRY400 -- a sentence, no trace
            answer = error.answer(message["id"])
        else:
            self._note(message, answer)
        await self._tell(answer)

    async def say(self, message: Message) -> None:
        """Send what wants no answer: a notification, or the client's answer to a question of the server."""
        try:
            async with asyncio.timeout(SAID_WITHIN):
                await self._exchange(message)
        except TimeoutError:
            log.warning("%s did not reach the server in time", message.get("method", "An answer"))
        except ConnectionFailedError as error:
            log.warning("%s did not reach the server: %s", message.get("method", "An answer"), error)
        if message.get("method") == "notifications/initialized":
            self._listen()

    async def close(self) -> None:
        """End the session, if there is one and the server is there."""
        session = self._session
        await self._end_stream()
        if session is None:
            return
        try:
            async with asyncio.timeout(2):
                await self._web.delete(self.url, headers=self._headers({}))
        except (TimeoutError, httpx2.HTTPError):
            log.debug("The session could not be ended: it will idle out")

    def _note(self, message: Message, answer: Message) -> None:
        """What has to be said again to a server that was restarted."""
        method, params = message["method"], message.get("params") or {}
        if "error" in answer or modern(message):
            return
        if method == "initialize":
            self._version = (answer.get("result") or {}).get("protocolVersion")
        elif method == "resources/subscribe":
            self._wishes["resources/subscribe", str(params.get("uri"))] = message
        elif method == "resources/unsubscribe":
            self._wishes.pop(("resources/subscribe", str(params.get("uri"))), None)
        elif method == "logging/setLevel":
            self._wishes[method, ""] = message

    # --- exchanges --------------------------------------------------------------------------------------------------

    async def _persistently(self, message: Message) -> Message:
        """Its answer. What did not arrive is sent again for a while; what may have had an effect is not."""
        first = message["method"] in {"initialize", "server/discover"}
        patience = self._patience if self._patience is not None else FIRST_PATIENCE if first else PATIENCE
        deadline, pause = time.monotonic() + patience, PAUSE
        while True:
            session = self._session
            try:
                return await self._exchange(message)
            except SessionGoneError:
                await self._renew(session)
            except AwayError:
                if time.monotonic() + pause > deadline:
                    raise
            except BrokenError:
                if message["method"] in ONCE or time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause * random.uniform(0.7, 1))  # noqa: S311 -- jitter
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _exchange(self, message: Message) -> Message:
        """Post it once. What the server says before its answer is told; the answer is returned ({}: none is due)."""
        wanted = message.get("id") if "method" in message else None
        body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
        async with _translated(self.url), self._post(body, self._headers(message)) as response:
            if message.get("method") == "initialize" and response.status_code == httpx2.codes.OK:
                self._session = response.headers.get(SESSION)
            if response.headers.get("content-type", "").startswith("text/event-stream") and response.is_success:
                return await self._streamed(response, wanted)
            return await self._whole(response, wanted, had_session=SESSION in response.request.headers)

    @asynccontextmanager
    async def _post(self, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        async with self._web.stream("POST", self.url, content=body, headers=headers) as response:
            yield response

    async def _streamed(self, response: httpx2.Response, wanted: object) -> Message:
        async for event in httpx2.EventSource(response, max_event_size=MAX_ANSWER):
            said = _message(event.data) if event.data else None
            if said is None:
                continue
            if "method" not in said and said.get("id") == wanted:
                return said
            await self._tell(said)
        if wanted is None:
            return {}
        raise BrokenError(f"The server at {self.url} ended its answer before it was complete")

    async def _whole(self, response: httpx2.Response, wanted: object, *, had_session: bool) -> Message:
        text = await _limited(response)
        said = _message(text)
        status = response.status_code
        if status == _GONE and had_session and (said is None or said.get("id") is None):
            raise SessionGoneError("The server does not know this session")
        if said is not None and "method" not in said and wanted is not None and said.get("id") in {wanted, None}:
            if status not in _AWAY:
                return {**said, "id": wanted}
        elif response.is_success:
            if wanted is None:
                return {}
            raise RefusedError(f"What answers at {self.url} is no MCP server: the path is usually /mcp")
        raise _refusal(self.url, status, text)

    def _headers(self, message: Message) -> dict[str, str]:
        headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        method = str(message.get("method", ""))
        if version := modern(message):
            headers |= {VERSION: version, "mcp-method": method}
            name = (message.get("params") or {}).get(NAMED.get(method, ""))
            return {**headers, "mcp-name": encoded(name)} if isinstance(name, str) else headers
        if method != "initialize":
            headers |= {SESSION: self._session} if self._session else {}
            headers |= {VERSION: self._version} if self._version else {}
        return headers

    # --- the session ------------------------------------------------------------------------------------------------

    async def _forget(self) -> None:
        await self._end_stream()
        self._session = self._version = None
        self._wishes.clear()

    async def _renew(self, lost: str | None) -> None:
        """Open a session again, as the client opened the first one."""
        async with self._renewing:
            if self._session != lost:
                return  # someone else was faster
            if self._hello is None:
                raise RefusedError("The server does not know this session, and the client has not opened one")
            log.warning(
                "The server has forgotten the session (it was restarted, or the session idled): opening it again"
            )
            self._session = self._version = None
            hello = await self._exchange({**self._hello, "id": self._own_id()})
            if "error" in hello:
                raise RefusedError(f"The server does not open a session again: {hello['error'].get('message')}")
            self._version = hello["result"].get("protocolVersion")
            await self._exchange({"jsonrpc": "2.0", "method": "notifications/initialized"})
            for wish in list(self._wishes.values()):
                await self._exchange({**wish, "id": self._own_id()})
            for method, uri in self._wishes:
                if method == "resources/subscribe":  # it may have changed meanwhile
                    await self._tell(
                        {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}
                    )

    def _own_id(self) -> str:
        self._renewals += 1
        return f"proxmox-mcp-again-{self._renewals}"

    # --- what the server says unasked -------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._session and (self._stream is None or self._stream.done()):
            self._stream = asyncio.create_task(self._listening(), name="mcp stream")

    async def _end_stream(self) -> None:
        if self._stream:
            self._stream.cancel()
            await asyncio.wait([self._stream])
            self._stream = None

    async def _listening(self) -> None:
        pause = PAUSE
        while True:
            session = self._session
            try:
                await self._one_stream()
                pause = PAUSE
            except SessionGoneError:
                await self._renewed(session)
            except RefusedError as error:
                log.warning("The server sends nothing unasked: %s", error)
                return
            except ConnectionFailedError as error:
                log.debug("The stream of the server is lost: %s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _renewed(self, session: str | None) -> None:
        try:
            await self._renew(session)
        except ConnectionFailedError as error:
            log.debug("The session cannot be opened again yet: %s", error)

    async def _one_stream(self) -> None:
        headers = {**self._headers({}), "accept": "text/event-stream"}
        async with _translated(self.url), self._web.stream("GET", self.url, headers=headers) as response:
            if response.is_success:
                await self._streamed(response, None)
                return
            text = await _limited(response)
            if response.status_code == _GONE:
                raise SessionGoneError("The server does not know this session")
            raise _refusal(self.url, response.status_code, text)


def _refusal(url: str, status: int, text: str) -> ConnectionFailedError:
    """Of an answer that is no message. A server, or a proxy before it, that fails may have begun what was asked."""
    if status >= _OWN_FAULT and status not in _AWAY:
        return BrokenError(f"The server at {url} answered {status}")
    return (AwayError if status in _AWAY else RefusedError).of(url, status, text)


def modern(message: Message) -> str | None:
    """The protocol version that a message itself names, as all do since 2026; None for one of a session."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, dict) else None
    return version if isinstance(version, str) and _PLAIN.fullmatch(version) else None


def encoded(text: str) -> str:
    """As a header's value, by the rule of the 2026-07-28 specification."""
    if (not text or _PLAIN.fullmatch(text)) and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode('ascii')}?="


@asynccontextmanager
async def _translated(url: str) -> AsyncIterator[None]:
    """What goes wrong on the way, as ours: whether it is sure that nothing arrived decides what may be repeated."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise unreachable(url, error) from error
    except (httpx2.TransportError, httpx2.SSEError) as error:
        reason = str(error) or type(error).__name__
        raise BrokenError(f"The connection to {url} broke off ({reason})") from error


async def _limited(response: httpx2.Response) -> str:
    held = bytearray()
    async for part in response.aiter_bytes():
        held += part
        if len(held) > MAX_ANSWER:
            raise BrokenError(f"The server's answer is larger than {MAX_ANSWER >> 20} MiB")
    return held.decode("utf-8", "replace")


def _message(text: str) -> Message | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("jsonrpc") == "2.0" else None
