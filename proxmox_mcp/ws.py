"""/ws: events and changes of state as JSON messages, for programs that want a WebSocket.

The guard has checked host and origin, and the token where one came with the request (`Authorization`, or the
subprotocol `bearer.TOKEN`); a browser may also send it as its first message. Nothing is streamed before that, and no
token is ever taken from the URL. Nothing can be done through it: it streams what any token may read.
"""

import asyncio
import json
import logging
from typing import Final
from urllib.parse import parse_qsl

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mqtt_bridge import __version__
from mqtt_bridge.policy import Principal
from proxmox_mcp.server import PRINCIPAL
from proxmox_mcp.tokens import Keyring
from proxmox_mcp.ws_hub import READY, Client, Hub, snapshot_texts, state_text
from proxmox_mcp.ws_wants import Auth, Ping, Said, Snapshot, Subscribe, Wanted, WantedError, queried, said

log = logging.getLogger(__name__)

MAX_EVENTS = 1000  # that wait for one client
PROTOCOL = "proxmox-mcp"  # the subprotocol that a browser names beside `bearer.TOKEN`
MAX_MESSAGE: Final = 16 * 1024  # bytes of a message that a client sends
MAX_CLIENTS = 100
MAX_OF_ONE = 20  # clients with the same token
MAX_UNPROVEN = 10  # that have not sent their token yet
TOKEN_WITHIN = 10.0  # seconds
SENT_WITHIN = 20.0  # seconds that one message may take to leave
UNKNOWN, SLOW, WRONG = 4401, 1013, 1008  # why we close
BAD_URL, FULL, TOO_MANY = 400, 503, 429


class _CloseError(Exception):
    """Let this client go. `reason` is counted."""

    def __init__(self, code: int, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.reason = code, text, reason


class Stream:
    """The endpoint, as an ASGI app."""

    def __init__(self, hub: Hub, keyring: Keyring) -> None:
        self._hub = hub
        self._keyring = keyring
        self._unproven = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One client, from its handshake to its end."""
        socket = WebSocket(scope, receive, send)
        principal: Principal | None = scope[PRINCIPAL]
        try:
            wanted = queried(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        except WantedError as error:
            await socket.send_denial_response(PlainTextResponse(f"{error}\n", status_code=BAD_URL))
            return
        if refusal := self._full(principal):
            self._hub.dropped["limit"] += 1
            await socket.send_denial_response(refusal)
            return
        await socket.accept(subprotocol=PROTOCOL if PROTOCOL in scope.get("subprotocols", ()) else None)
        try:
            await self._serve(socket, principal or await self._proven(socket), wanted)
        except WebSocketDisconnect:
            return
        except _CloseError as error:
            await self._close(socket, error)

    def _full(self, principal: Principal | None) -> Response | None:
        unproven = principal is None and self._unproven >= MAX_UNPROVEN
        if unproven or len(self._hub.clients) >= MAX_CLIENTS:
            return PlainTextResponse("There are too many clients already: try again later.\n", status_code=FULL)
        if principal and self._hub.held(principal.name) >= MAX_OF_ONE:
            return PlainTextResponse(f"This token has {MAX_OF_ONE} clients already.\n", status_code=TOO_MANY)
        return None

    async def _proven(self, socket: WebSocket) -> Principal:
        """Whose token the first message has."""
        self._unproven += 1
        try:
            async with asyncio.timeout(TOKEN_WITHIN):
                message = said(await _text(socket))
        except (TimeoutError, WantedError):
            message = None
        finally:
            self._unproven -= 1
        found = self._keyring.find(message.token) if isinstance(message, Auth) else None
        if found is None:
            how = 'Send {"type": "auth", "token": "…"} first, with a token of this server.'
            raise _CloseError(UNKNOWN, how, "token")
        if self._full(found):
            raise _CloseError(SLOW, "There are too many clients already.", "limit")
        return found

    async def _serve(self, socket: WebSocket, principal: Principal, wanted: Wanted) -> None:
        client = Client(principal.name, wanted, MAX_EVENTS)
        with self._hub.joined(client):
            try:
                async with asyncio.timeout(READY):
                    await self._hub.ready.wait()
            except TimeoutError:
                log.debug("A client of /ws starts before events are listened to: the broker does not answer")
            await self._send(socket, self._hello(principal, wanted))
            if client.snapshot:
                client.wake.set()
            jobs = [
                asyncio.create_task(self._read(socket, client), name="ws read"),
                asyncio.create_task(self._write(socket, client), name="ws write"),
                asyncio.create_task(_watch(client), name="ws watch"),
            ]
            try:
                done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for job in jobs:
                    job.cancel()
                await asyncio.wait(jobs)
            for job in done:
                job.result()

    def _hello(self, principal: Principal, wanted: Wanted) -> str:
        view = self._hub.view()
        return json.dumps(
            {
                "type": "hello",
                "server": "proxmox-mcp",
                "version": __version__,
                "principal": principal.name,
                "sites": view.sites() if view else [],
                "subscription": wanted.model_dump(mode="json", exclude={"snapshot"}),
            }
        )

    # --- what a client says -----------------------------------------------------------------------------------------

    async def _read(self, socket: WebSocket, client: Client) -> None:
        while True:
            text = await _text(socket)
            try:
                await self._take(socket, client, said(text))
            except WantedError as error:
                await self._send(socket, json.dumps({"type": "error", "message": str(error)}))
                raise _CloseError(WRONG, "Not understood.") from None

    async def _take(self, socket: WebSocket, client: Client, message: Said) -> None:
        if isinstance(message, Subscribe):
            wanted = message.model_dump(mode="json", exclude={"type", "snapshot"})
            await self._send(socket, json.dumps({"type": "subscribed", "subscription": wanted}))
            client.want(message)
        elif isinstance(message, Snapshot):
            client.snapshot = True
            client.wake.set()
        elif isinstance(message, Ping):
            await self._send(socket, '{"type":"pong"}')

    # --- what it is told --------------------------------------------------------------------------------------------

    async def _write(self, socket: WebSocket, client: Client) -> None:
        while True:
            await client.wake.wait()
            client.wake.clear()
            while client.events:
                await self._send(socket, client.events.popleft())
            view = self._hub.view()
            if view is None:
                continue
            keys = client.changed()
            if client.snapshot:
                client.snapshot = False
                for text in snapshot_texts(view, client.wanted):
                    await self._send(socket, text)
            else:
                for key in keys:
                    await self._send(socket, state_text(view, key))

    async def _send(self, socket: WebSocket, text: str) -> None:
        try:
            async with asyncio.timeout(SENT_WITHIN):
                await socket.send_text(text)
        except TimeoutError:
            raise _too_slow() from None
        self._hub.sent += 1

    async def _close(self, socket: WebSocket, error: _CloseError) -> None:
        if error.reason:
            self._hub.dropped[error.reason] += 1
        if socket.application_state is WebSocketState.CONNECTED:
            try:
                async with asyncio.timeout(1):
                    await socket.close(error.code, error.text)
            except (TimeoutError, WebSocketDisconnect, RuntimeError):
                log.debug("A client of /ws was gone before it could be told why it is let go")


async def _text(socket: WebSocket) -> str:
    """The next message; what is no text is no message of ours. Raises WebSocketDisconnect at the end."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message.get("text") or ""


async def _watch(client: Client) -> None:
    await client.too_slow.wait()
    raise _too_slow()


def _too_slow() -> _CloseError:
    return _CloseError(SLOW, "Too slow: events would get lost. Read faster, or subscribe to less.", "slow")
