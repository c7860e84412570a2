"""Finds guests and nodes by asking Proxmox, never MQTT: what an action is judged by must not be forgeable there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from mqtt_bridge.errors import ForbiddenError, NotFoundError, ProxmoxError, UnknownTargetError
from mqtt_bridge.proxmox import rows
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.targets import GuestTarget, NodeTarget
from mqtt_bridge.whoami import Identity, is_own_address

Row = Mapping[str, Any]
NOBODY = Identity()
SHOWN = 10  # candidates in an error


async def find_guest(
    clients: Mapping[str, Api],
    vmid: int,
    site: str | None = None,
    node: str | None = None,
    *,
    me: Identity = NOBODY,
) -> GuestTarget:
    """The guest, read fresh. UnknownTargetError names the candidates if there is none or more than one.

    Without a `site` every site is asked, and one that does not answer makes the VMID ambiguous: it may be there too.
    """
    try:
        return await _find_guest(clients, vmid, site, node, me)
    except NotFoundError:  # it migrated between the list and its own status
        return await _find_guest(clients, vmid, site, node, me)


async def _find_guest(
    clients: Mapping[str, Api], vmid: int, site: str | None, node: str | None, me: Identity
) -> GuestTarget:
    asked = _sites(clients, site)
    known, silent = await _ask(asked, guest_rows)
    found = [(name, row) for name, row in known if row["vmid"] == vmid]
    here = [(name, row) for name, row in found if node in (None, row["node"])]
    if found and not here:
        places = tuple(f"{row['node']} ({name})" for name, row in found)
        raise UnknownTargetError(
            f"Guest {vmid} is not on node {node} but on {', '.join(places)}.",
            cure="Leave the node out: the VMID is enough.",
            candidates=places,
        )
    if not here and not silent:
        raise _unknown_guest(vmid, [row for _, row in known])
    name, row = _only(f"guest {vmid}", here, silent)
    return await read_guest(asked[name], row, me=me)


Listed = Sequence[tuple[str, Row]]
Silent = Mapping[str, ProxmoxError]


async def _ask(asked: Mapping[str, Api], question: Callable[[Api], Awaitable[Sequence[Row]]]) -> tuple[Listed, Silent]:
    """The rows of all sites, each with its site, and the errors of those that did not answer."""
    heard: dict[str, Sequence[Row]] = {}
    silent: dict[str, ProxmoxError] = {}

    async def one(name: str, api: Api) -> None:
        try:
            heard[name] = await question(api)
        except ProxmoxError as error:
            silent[name] = error

    await asyncio.gather(*(one(name, api) for name, api in asked.items()))
    return [(name, row) for name in asked for row in heard.get(name, ())], silent


def _only(what: str, found: Listed, silent: Silent) -> tuple[str, Row]:
    """The one that was found; otherwise why it is not clear which one is meant."""
    if not found:
        raise next(iter(silent.values()))
    sites = tuple(name for name, _ in found)
    if len(found) > 1:
        raise UnknownTargetError(
            f"There is a {what} on each of the sites {', '.join(sites)}.", cure="Name the site.", candidates=sites
        )
    if silent:
        raise UnknownTargetError(
            f"There is a {what} on site {sites[0]}, but {', '.join(silent)} cannot be asked whether it has one too.",
            cure=f"Name the site: {sites[0]}.",
            candidates=(*sites, *silent),
        )
    return found[0]


def _unknown_guest(vmid: int, known: Sequence[Row]) -> UnknownTargetError:
    near = sorted(known, key=lambda row: (abs(row["vmid"] - vmid), row["vmid"]))[:SHOWN]
    names = tuple(f"{row['vmid']} ({row.get('name', '?')}, {row['node']})" for row in near)
    cure = f"Nearest: {', '.join(names)}." if names else "The token sees no guest at all: it may lack VM.Audit on /vms."
    return UnknownTargetError(f"There is no guest {vmid}, or the token may not see it.", cure=cure, candidates=names)


async def guest_rows(api: Api) -> list[Row]:
    """The guests of a site as `/cluster/resources` lists them: place, tags, pool and lock are exact, figures lag."""
    answer = await api.get("cluster", "resources", type="vm")
    return [row for row in answer if row.get("type") in ("qemu", "lxc") and isinstance(row.get("vmid"), int)]


async def read_guest(api: Api, row: Row, *, me: Identity = NOBODY) -> GuestTarget:
    """A guest's own status and configuration, together with its row."""
    path = ("nodes", str(row["node"]), str(row["type"]), int(row["vmid"]))
    current, config = await asyncio.gather(api.get(*path, "status", "current"), api.get(*path, "config"))
    return guest_target(api.site.slug, row, current, config, me)


async def reread(api: Api, guest: GuestTarget) -> GuestTarget:
    """What `status/current` says now of a guest that was read before; tags and protection are not read again."""
    path = ("nodes", guest.node, guest.type, guest.vmid, "status", "current")
    current = await api.get(*path, purpose="poll")  # looked at every half second: not counted as a tool's call
    row = {"vmid": guest.vmid, "type": guest.type, "node": guest.node, "name": guest.name, "pool": guest.pool}
    return guest_target(guest.site, row, current, {}, NOBODY)


def guest_target(site: str, row: Row, current: Row, config: Row, me: Identity) -> GuestTarget:
    """Three answers made one. Tags count wherever they are seen: a missing one would take protection away."""
    lock = current.get("lock") or config.get("lock")
    live = {"status": current.get("status"), "lock": lock}
    uptime = current.get("uptime")
    tags = {tag.casefold() for source in (row, current, config) for tag in rows.split_list(source.get("tags"))}
    return GuestTarget(
        site=site,
        vmid=int(row["vmid"]),
        type="lxc" if row["type"] == "lxc" else "qemu",
        node=str(row["node"]),
        name=str(current.get("name") or row.get("name") or ""),
        state=rows.guest_status(live, node_online=True, qmpstatus=current.get("qmpstatus")),
        tags=frozenset(tags),
        pool=row.get("pool") or None,
        template=bool(row.get("template") or current.get("template") or config.get("template")),
        lock=str(lock) if lock else None,
        protection=bool(config.get("protection")),
        ha=bool((current.get("ha") or {}).get("managed")),
        uptime=None if uptime is None else int(uptime),
        is_self=me.matches(config),
        config=config,
    )


async def guests_on(api: Api, node: str) -> tuple[GuestTarget, ...]:
    """All guests of a node that is up, with the states that the node itself tells (templates are left out)."""
    listed, *live = await asyncio.gather(guest_rows(api), *(api.get("nodes", node, kind) for kind in ("qemu", "lxc")))
    placed = {row["vmid"]: row for row in listed}
    found = []
    for kind, answer in zip(("qemu", "lxc"), live, strict=True):
        for current in answer:
            vmid = int(current["vmid"])
            row = {**placed.get(vmid, {}), "vmid": vmid, "type": kind, "node": node}
            found.append(guest_target(api.site.slug, row, current, {}, NOBODY))
    return tuple(sorted((g for g in found if not g.template), key=lambda guest: guest.vmid))


async def find_node(clients: Mapping[str, Api], node: str, site: str | None = None) -> NodeTarget:
    """The node, read fresh; UnknownTargetError names the candidates."""
    asked = _sites(clients, site)
    known, silent = await _ask(asked, node_rows)
    found = [(name, row) for name, row in known if row["node"] == node]
    if not found and not silent:
        names = tuple(f"{row['node']} ({name})" for name, row in known)
        raise UnknownTargetError(
            f"There is no node {node}.", cure=f"There are: {', '.join(names[:SHOWN])}.", candidates=names
        )
    name, row = _only(f"node {node}", found, silent)
    return NodeTarget(name, node, row.get("status") == "online", is_self=await _is_own_node(asked[name], node))


async def node_rows(api: Api) -> list[Row]:
    """The members of a site; every login may read them."""
    return [row for row in await api.get("nodes") if isinstance(row.get("node"), str)]


async def _is_own_node(api: Api, node: str) -> bool:
    try:
        members = await api.get("cluster", "status")
    except ForbiddenError:  # needs Sys.Audit on /; without it the address is not known
        return False
    return any(m.get("type") == "node" and m.get("name") == node and is_own_address(m.get("ip")) for m in members)


def _sites(clients: Mapping[str, Api], site: str | None) -> dict[str, Api]:
    hosts = {name: api for name, api in clients.items() if api.site.kind == "pve"}
    if site is None:
        return hosts
    if site not in hosts:
        raise UnknownTargetError(
            f"There is no Proxmox VE site {site}.",
            cure=f"Sites: {', '.join(hosts) or 'none'}.",
            candidates=tuple(hosts),
        )
    return {site: hosts[site]}
