"""`/cluster/resources`: what pvestatd of every node last told, kept as text so that 10 000 guests cost little."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import figures
from .state import Report
from .world import ha_sid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .access import Identity
    from .state import Guest, Node, Storage
    from .world import World

_FIGURES = ",".join(f'"{key}":%s' for key in figures.KEYS)


def tick(world: World, node: Node) -> int:
    """Number of the node's last report; every node reports at a moment of its own."""
    interval = world.options.pvestatd_interval
    now = node.lost_at if not node.online else world.now()
    return int(now) if interval <= 0 else int((now + node.nodeid * 3.7) / interval)


def settle(world: World, guest: Guest) -> None:
    """Before a change: make sure the last report, which others still see, was taken before it."""
    if world.options.pvestatd_interval > 0:
        _refresh(world, guest)
    guest.entry = ""


def touch(world: World, guest: Guest) -> None:
    """After a change of configuration or state."""
    guest.entry = ""
    if world.options.pvestatd_interval <= 0:
        guest.report_tick = -1


def newborn(world: World, guest: Guest) -> None:
    """A guest that was just made is unknown until the next report."""
    guest.report_tick = tick(world, world.nodes[guest.node]) if world.options.pvestatd_interval > 0 else -1


def _refresh(world: World, guest: Guest) -> None:
    node = world.nodes[guest.node]
    current = tick(world, node)
    if guest.report_tick == current or not node.seen:
        return
    if not node.online and guest.report is not None:
        return
    guest.report_tick = current
    guest.report = report(world, guest, node.lost_at if not node.online else world.now())
    guest.entry = ""


def report(world: World, guest: Guest, now: float) -> Report:
    numbers = figures.numbers(guest, now, world.maxdisk(guest))
    status = "running" if guest.running else "stopped"
    return Report(now, status, guest.name, int(guest.template), _FIGURES % numbers, numbers)


def expired(world: World, node: Node) -> bool:
    """Whether the cluster has forgotten the figures of a node that is gone."""
    return not node.seen or (not node.online and world.now() - node.lost_at > world.options.rrd_timeout)


def guest_entry(world: World, guest: Guest) -> str:
    """One guest as JSON text."""
    node = world.nodes[guest.node]
    if expired(world, node):
        return _build(world, guest, None)
    _refresh(world, guest)
    if not guest.entry:
        guest.entry = _build(world, guest, guest.report)
    return guest.entry


def _build(world: World, guest: Guest, told: Report | None) -> str:
    parts = [f'{{"id":"{guest.key}","vmid":{guest.vmid},"node":"{guest.node}","type":"{guest.kind}"']
    parts += [f'"{key}":{json.dumps(value)}' for key, value in _optional(world, guest) if value]
    if told is None:
        parts.append('"status":"unknown"}')
    else:
        parts.append(f'"status":"{told.status}","name":{json.dumps(told.name)},"template":{told.template}')
        parts.append(told.figures + "}")
    return ",".join(parts)


def _optional(world: World, guest: Guest) -> tuple[tuple[str, str], ...]:
    resource = world.ha.get(ha_sid(guest)) if world.ha else None
    return (
        ("tags", guest.tags),
        ("lock", guest.lock),
        ("pool", guest.pool),
        ("hastate", (resource.crm_state or resource.state) if resource else ""),
    )


def guests(world: World, who: Identity) -> Iterator[str]:
    for guest in world.sorted_guests():
        if world.sees(who, f"/vms/{guest.vmid}", "VM.Audit"):
            yield guest_entry(world, guest)


def node_row(world: World, node: Node, *, numbers: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"id": f"node/{node.name}", "node": node.name, "type": "node", "status": "offline"}
    if expired(world, node):
        return row
    row["level"] = ""
    if world.ha and node.ha_state:
        row["hastate"] = node.ha_state
    if not node.online:
        return row
    row |= {"status": "online", "cgroup-mode": 2}
    if world.ha and not node.ha_state:
        row["hastate"] = "online"
    return row | figures.node(node, _reported_at(world, node)) if numbers else row


def _reported_at(world: World, node: Node) -> float:
    interval = world.options.pvestatd_interval
    return world.now() if interval <= 0 else tick(world, node) * interval - node.nodeid * 3.7


def nodes(world: World, who: Identity) -> Iterator[str]:
    for node in world.nodes.values():
        yield json.dumps(node_row(world, node, numbers=world.sees(who, f"/nodes/{node.name}", "Sys.Audit")))


def storage_row(world: World, storage: Storage, node: Node) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": f"storage/{node.name}/{storage.name}",
        "storage": storage.name,
        "node": node.name,
        "type": "storage",
        "plugintype": storage.kind,
        "content": storage.content,
        "shared": int(storage.shared),
        "status": "unknown",
    }
    gone = expired(world, node) or (not storage.active(node.name) and _forgotten(world, storage))
    if not gone:
        at = _reported_at(world, node) if node.online else node.lost_at
        row |= {"status": "available", "disk": figures.storage_used(storage, at), "maxdisk": storage.total}
    return row


def _forgotten(world: World, storage: Storage) -> bool:
    return world.now() - storage.offline_since > world.options.rrd_timeout


def storages(world: World, who: Identity) -> Iterator[str]:
    for storage in world.storages.values():
        if storage.disabled or not may_see_storage(world, who, storage.name):
            continue
        for node in world.nodes.values():
            if storage.serves(node.name):
                yield json.dumps(storage_row(world, storage, node))


def may_see_storage(world: World, who: Identity, name: str) -> bool:
    held = world.access.privileges(who, f"/storage/{name}")
    return not held.isdisjoint(("Datastore.Audit", "Datastore.AllocateSpace"))


def pools(world: World, who: Identity) -> Iterator[str]:
    for pool in world.pools.values():
        if not world.sees(who, f"/pool/{pool.name}", "Pool.Audit"):
            continue
        row: dict[str, Any] = {"id": f"/pool/{pool.name}", "pool": pool.name, "type": "pool"}
        yield json.dumps(row | _pool_sums(world, pool.name))


def _pool_sums(world: World, name: str) -> dict[str, float]:
    """Sum up running members, as PVE does; nothing when none runs."""
    told = [guest.report for guest in world.guests.values() if guest.pool == name and guest.report]
    running = [dict(zip(figures.KEYS, one.numbers, strict=True)) for one in told if one.status == "running"]
    if not running:
        return {}
    cores = sum(one["maxcpu"] for one in running)
    return {
        "cpu": sum(one["cpu"] * one["maxcpu"] for one in running) / max(1, cores),
        "maxcpu": cores,
        "mem": sum(one["mem"] for one in running),
        "maxmem": sum(one["maxmem"] for one in running),
        "uptime": max(one["uptime"] for one in running),
    }


def networks(world: World, who: Identity) -> Iterator[str]:
    for node in world.nodes.values():
        if world.sees(who, "/sdn/zones/localnetwork", "SDN.Audit"):
            yield json.dumps(
                {
                    "id": f"network/{node.name}/zone/localnetwork",
                    "network": "localnetwork",
                    "network-type": "zone",
                    "node": node.name,
                    "status": "ok",
                    "type": "network",
                }
            )


_KINDS: dict[str, tuple[Callable[[World, Identity], Iterator[str]], ...]] = {
    "": (pools, guests, nodes, storages, networks),
    "vm": (guests,),
    "node": (nodes,),
    "storage": (storages,),
    "sdn": (networks,),
}


def listing(world: World, who: Identity, kind: str) -> str:
    """Give the whole list as JSON text."""
    return "[" + ",".join(entry for source in _KINDS[kind] for entry in source(world, who)) + "]"
