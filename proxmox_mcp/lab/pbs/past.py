"""A backup server's past: its journal, and its figures and those of its datastores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import rrd
from proxmox_mcp.lab.handlers.nodes import CURSOR
from proxmox_mcp.lab.state import GIB, Node
from proxmox_mcp.lab.vzlog import stamp

from .stores import find, used

if TYPE_CHECKING:
    from .call import Call
    from .state import PbsHost

_RENAMED = {"rootused": "used", "roottotal": "total"}


def machine(host: PbsHost) -> Node:
    """The server as if it were a node, for its figures."""
    return Node(host.name, 1, "127.0.0.1", host.cores, host.memory, 64 * GIB, host.load, host.booted_at)


def host_figures(call: Call) -> list[dict[str, Any]]:
    rows = rrd.node_rows(machine(call.host), call.host.clock.now(), call.params["timeframe"])
    return [{_RENAMED.get(key, key): value for key, value in row.items() if key != "maxcpu"} for row in rows]


def store_figures(call: Call) -> list[dict[str, Any]]:
    store = find(call, "Datastore.Audit")
    return [
        {"time": at, "total": store.total, "used": used(store, at), "read_bytes": 1e5, "write_bytes": 4e5}
        for at in rrd.times(call.host.clock.now(), call.params["timeframe"])
    ]


def journal(call: Call) -> list[str]:
    """Lines between two cursors."""
    params = call.params
    lines = [
        f"{stamp(entry.time, '%b %d %H:%M:%S')} {entry.node} {entry.tag}[{entry.pid}]: {entry.msg}"
        for entry in call.host.journal
        if entry.node == call.host.name and params.get("since", 0) <= entry.time <= params.get("until", entry.time)
    ]
    last = min(params.get("lastentries", len(lines)), len(lines))
    return [CURSOR, *lines[len(lines) - last :], CURSOR]
