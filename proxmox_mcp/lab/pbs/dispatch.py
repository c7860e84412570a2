"""From a request to an answer on a backup server: login, path, rights, parameters."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import apitable, verify
from proxmox_mcp.lab.access import NOBODY
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.permissions import check_pbs

from .call import Call
from .handlers import ROUTES

if TYPE_CHECKING:
    from proxmox_mcp.lab.access import Identity
    from proxmox_mcp.lab.dispatch import Ledger
    from proxmox_mcp.lab.record import Ask

    from .state import PbsHost

WORDS = {
    verify.MISSING: "parameter is missing and it is not optional.",
    verify.UNKNOWN: "schema does not allow additional properties.",
}


async def answer(host: PbsHost, ledger: Ledger, auth_delay: float, ask: Ask) -> Any:
    public = apitable.public("pbs", ask.method, ask.path)
    who = NOBODY if public else await _login(host, auth_delay, ask.authorization)
    ledger.check("pbs", ask)
    found = apitable.match("pbs", ask.path)
    row = found.methods.get(ask.method) if found else None
    if found is None or row is None:
        raise _not_found(ask)
    values = ask.params | found.values
    call = Call(host, values, who)
    check_pbs(call, row.permissions, values)
    call.params, errors = verify.verify(row, values)
    if errors:
        lines = [f"parameter '{name}': {WORDS.get(text, text)}" for name, text in errors.items()]
        raise ApiError(400, "parameter verification errors\n\n" + "\n".join(lines) + "\n")
    handler = ROUTES.get((ask.method, found.path))
    if handler is not None:
        data = handler(call)
        return await data if inspect.isawaitable(data) else data
    if ask.method == "GET" and (names := apitable.children("pbs", found.path)):
        return [{"subdir": name} for name in names]
    ledger.unsimulated.append(f"pbs {ask.method} {found.path}")
    raise _not_found(ask)


async def _login(host: PbsHost, delay: float, header: str | None) -> Identity:
    """Authenticate; a failure is answered late."""
    try:
        return host.access.authenticate(header, host.clock.now())
    except ApiError as error:
        await asyncio.sleep(delay)
        text = "authentication failed - invalid token" if header else "no authentication credentials provided."
        raise ApiError(401, text) from error


def _not_found(ask: Ask) -> ApiError:
    return ApiError(404, f"Path '/api2/json{ask.path}' not found.")
