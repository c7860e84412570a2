"""From a request to an answer on a backup server: login, path, rights, parameters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import apitable, verify
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.permissions import check_pbs

from .call import Call
from .handlers import ROUTES

if TYPE_CHECKING:
    from proxmox_mcp.lab.dispatch import Ledger

    from .state import PbsHost

WORDS = {
    verify.MISSING: "parameter is missing and it is not optional.",
    verify.UNKNOWN: "schema does not allow additional properties.",
}


async def answer(
    host: PbsHost, ledger: Ledger, auth_delay: float, method: str, path: str, given: dict[str, Any], header: str | None
) -> Any:
    try:
        who = host.access.authenticate(header, host.clock.now())
    except ApiError as error:
        await asyncio.sleep(auth_delay)
        text = "no authentication credentials provided." if not header else "authentication failed - invalid token"
        raise ApiError(401, text) from error
    ledger.check("pbs", method, path, given)
    found = apitable.match("pbs", path)
    row = found.methods.get(method) if found else None
    if found is None or row is None:
        raise ApiError(404, f"Path '/api2/json{path}' not found.")
    values = given | found.values
    call = Call(host, values, who)
    check_pbs(call, row.permissions, values)
    call.params, errors = verify.verify(row, values)
    if errors:
        lines = [f"parameter '{name}': {WORDS.get(text, text)}" for name, text in errors.items()]
        raise ApiError(400, "parameter verification errors\n\n" + "\n".join(lines) + "\n")
    handler = ROUTES.get((method, found.path))
    if handler is not None:
        return handler(call)
    if method == "GET" and (names := apitable.children("pbs", found.path)):
        return [{"subdir": name} for name in names]
    ledger.unsimulated.append(f"pbs {method} {found.path}")
    raise ApiError(404, f"Path '/api2/json{path}' not found.")
