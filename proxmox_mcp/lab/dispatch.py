"""From a request to an answer, in the order in which a PVE host checks: login, path, rights, node, parameters."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import apitable, verify
from .access import NOBODY
from .call import Call
from .errors import ApiError, bad_parameters, not_implemented, refused
from .handlers import PVE
from .permissions import check_pve

if TYPE_CHECKING:
    from .apitable import Kind, Match, Method
    from .record import Ask
    from .state import Node
    from .world import World


@dataclass(slots=True)
class Ledger:
    """Requests that no real host would understand, and those that only this lab doesn't."""

    violations: list[str] = field(default_factory=list)
    unsimulated: list[str] = field(default_factory=list)

    def check(self, kind: Kind, ask: Ask) -> None:
        problems = apitable.check_request(kind, ask.method, ask.path, ask.params)
        self.violations += [f"{kind} {ask.method} {ask.path}: {problem}" for problem in problems]


async def answer(world: World, ledger: Ledger, entry: str, ask: Ask) -> Any:
    """Give the handler's data, or raise `ApiError`."""
    who = NOBODY if apitable.public("pve", ask.method, ask.path) else await login(world, ask.authorization)
    found, row = find("pve", ledger, ask)
    values = ask.params | found.values
    call = Call(world, entry, found.path, values, who)
    if not row.allow_token:
        raise refused()
    check_pve(call, row.permissions, values)
    if row.proxied and "node" in found.values:
        await reach(world, entry, found.values["node"])
    if row.protected and world.nodes[found.values["node"] if row.proxied else entry].daemon_down:
        raise ApiError(595, "Connection refused", body=False)
    call.params, errors = verify.verify(row, values)
    if errors:
        raise bad_parameters(errors)
    handler = PVE.get((ask.method, found.path))
    if handler is not None:
        data = handler(call)
        return await data if inspect.isawaitable(data) else data
    if ask.method == "GET" and (names := apitable.children("pve", found.path)):
        return [{"name": name, "subdir": name} for name in names]
    ledger.unsimulated.append(f"pve {ask.method} {found.path}")
    raise not_implemented(ask.method, ask.path)


async def login(world: World, header: str | None) -> Any:
    """Authenticate; a failure is answered late."""
    try:
        return world.access.authenticate(header, world.now())
    except ApiError:
        await asyncio.sleep(world.options.auth_delay)
        raise


def find(kind: Kind, ledger: Ledger, ask: Ask) -> tuple[Match, Method]:
    """Find the table's row; what is not in the table is noted and refused."""
    ledger.check(kind, ask)
    found = apitable.match(kind, ask.path)
    row = found.methods.get(ask.method) if found else None
    if found is None or row is None:
        raise not_implemented(ask.method, ask.path)
    return found, row


async def reach(world: World, entry: str, name: str) -> None:
    """Proxy to the node of the path, which may not exist, not answer, or not be there."""
    node = world.node(name)
    if name == entry:
        return
    options = world.options
    if not node.online:
        if node.seen and world.now() - node.lost_at < options.fresh_death:
            await asyncio.sleep(options.proxy_timeout)
            raise ApiError(595, "Connection timed out", body=False)
        await asyncio.sleep(options.dead_node_delay)
        raise ApiError(595, "No route to host", body=False)
    if node.api_down:
        raise ApiError(595, "Connection refused", body=False)
    await _patience(node, options.proxy_timeout)


async def _patience(node: Node, seconds: float) -> None:
    """A hanging node may wake up in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while node.hanging:
        if asyncio.get_running_loop().time() >= deadline:
            raise ApiError(596, "Connection timed out", body=False)
        await asyncio.sleep(0.05)
