"""The way into a running lab: a loopback HTTP endpoint whose URL carries a random token."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from .faults import FAULTS
from .mishaps import FaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TIMEOUT = ClientTimeout(total=10)
OK, BAD, FORBIDDEN = 200, 400, 403


@asynccontextmanager
async def serve(inject: Callable[..., str]) -> AsyncIterator[str]:
    """Serve faults while the block runs; yields the URL to keep secret."""
    token = secrets.token_urlsafe(24)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if not secrets.compare_digest(request.path.strip("/").encode(), token.encode()):
            return web.Response(status=FORBIDDEN, text="this URL has no valid token")
        if request.method == "GET":
            return web.json_response([{"usage": fault.usage, "help": fault.help} for fault in FAULTS])
        body = await request.json()
        try:
            return web.Response(text=inject(str(body["name"]), *body.get("args", [])))
        except FaultError as error:
            return web.Response(status=BAD, text=str(error))

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/{token}"
    finally:
        await runner.cleanup()


async def send_fault(control_url: str, name: str, args: list[str]) -> str:
    """Inject a fault into a running lab; returns what was done.

    Raises `FaultError` with the lab's own words, or when there is no lab at this address.
    """
    try:
        async with (
            ClientSession(timeout=TIMEOUT) as session,
            session.post(control_url, json={"name": name, "args": args}) as response,
        ):
            text = await response.text()
    except (ClientError, TimeoutError, OSError) as error:
        raise FaultError("no lab answers at PROXMOX_LAB_CONTROL; is `proxmox-mcp lab` or `demo` running?") from error
    if response.status != OK:
        raise FaultError(text)
    return text
