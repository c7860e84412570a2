"""High availability: resources, the state of its managers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.world import ha_sid

from .cluster import EMPTY_DIGEST

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import Guest
    from proxmox_mcp.lab.world import World


def ha_resources(call: Call) -> list[dict[str, Any]]:
    return [_ha_row(one.sid, one.state, one.comment) for one in call.world.ha.values()]


def _ha_row(sid: str, state: str, comment: str) -> dict[str, Any]:
    row: dict[str, Any] = {"sid": sid, "type": sid[:2], "state": state, "digest": EMPTY_DIGEST, "failback": 1}
    return row | ({"comment": comment} if comment else {})


def _master(world: World) -> str:
    return next((node.name for node in world.nodes.values() if node.online), "pve1")


def ha_current(call: Call) -> list[dict[str, Any]]:
    world = call.world
    good = world.quorate
    master = _master(world)
    rows: list[dict[str, Any]] = [
        {
            "id": "quorum",
            "type": "quorum",
            "node": call.entry,
            "quorate": int(good),
            "status": "OK" if good else f"No quorum on node '{call.entry}'!",
        }
    ]
    if not world.ha:
        text = "standby (CRM watchdog standby)"
        return [*rows, {"id": "fencing", "type": "fencing", "node": master, "armed-state": "standby", "status": text}]
    stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(world.now()))
    at = int(world.now())
    rows.append(
        {"id": "master", "type": "master", "node": master, "status": f"{master} (active, {stamp})", "timestamp": at}
    )
    rows += [
        {
            "id": f"lrm:{node.name}",
            "type": "lrm",
            "node": node.name,
            "status": f"{node.name} ({'active' if node.online else 'old timestamp - dead?'}, {stamp})",
            "timestamp": at,
        }
        for node in world.nodes.values()
    ]
    return rows + [_ha_service(guest, world.ha[sid].state, world.ha[sid].crm_state) for guest, sid in _managed(world)]


def _managed(world: World) -> list[tuple[Guest, str]]:
    return [(guest, ha_sid(guest)) for guest in world.sorted_guests() if ha_sid(guest) in world.ha]


def _ha_service(guest: Guest, requested: str, crm_state: str) -> dict[str, Any]:
    sid = ha_sid(guest)
    state = crm_state or ("started" if guest.running else "stopped")
    return {
        "id": f"service:{sid}",
        "type": "service",
        "sid": sid,
        "node": guest.node,
        "state": state,
        "crm_state": state,
        "request_state": requested,
        "max_restart": 1,
        "max_relocate": 1,
        "status": f"{sid} ({guest.node}, {state})",
    }


def ha_manager(call: Call) -> dict[str, Any]:
    world = call.world
    found: dict[str, Any] = {"node_status": {}}
    if world.ha:
        found = {
            "master_node": _master(world),
            "node_status": {node.name: "online" if node.online else "unknown" for node in world.nodes.values()},
            "service_status": {
                sid: {"node": guest.node, "state": world.ha[sid].state, "running": int(guest.running)}
                for guest, sid in _managed(world)
            },
            "timestamp": int(world.now()),
        }
    return {"quorum": {"node": call.entry, "quorate": str(int(world.quorate))}, "manager_status": found}


def ha_groups(_call: Call) -> None:
    raise ApiError(500, "cannot index groups: ha groups have been migrated to rules")


ROUTES: tuple[Route, ...] = (
    ("GET", "/cluster/ha/resources", ha_resources),
    ("GET", "/cluster/ha/status/current", ha_current),
    ("GET", "/cluster/ha/status/manager_status", ha_manager),
    ("GET", "/cluster/ha/groups", ha_groups),
)
