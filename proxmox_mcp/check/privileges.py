"""What a token may do, against what is switched on. Lists that a token may not see are empty, not refused."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.permissions import PBS_NEEDS, PVE_NEEDS, Need, Permissions, anywhere, holds
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.settings import Endpoint, Level, SiteSettings, allows

Row = tuple[str, bool | None, str, str]

# What power control at a level of MCP_ALLOW, MQTT_ALLOW or DISCORD_ALLOW needs beside reading.
_CONTROL: tuple[tuple[Level, Need], ...] = (
    ("operate", Need("starting and stopping guests", "/vms", "VM.PowerMgmt")),
    ("destroy", Need("restarting and switching off nodes", "/nodes", "Sys.PowerMgmt")),
)
_OTHERS = "for snapshots, backups and all else: `proxmox-mcp setup token`, or the tool get_permissions"
_EXTRAS = (Need("cluster log and system logs", "/nodes", "Sys.Syslog", core=False),)
_AUDIT = {"pve": "VM.Audit", "pbs": "Sys.Audit"}  # the auditor's role of the product has it


async def privileges(client: ProxmoxClient, site: SiteSettings, one: Endpoint, level: Level, setting: str) -> list[Row]:
    """Findings on rights, and then what can really be read with them. Raises ProxmoxError.

    `setting` is the one that gives `level`.
    """
    answer = await client.request("GET", "access", "permissions", host=one.name)
    permissions: Permissions = answer if isinstance(answer, dict) else {}
    needs = PVE_NEEDS if one.kind == "pve" else PBS_NEEDS
    core = [need for need in needs if need.core]
    wanted = [need for at, need in _CONTROL if one.kind == "pve" and allows(level, at)]
    extras = [need for need in (*needs, *(_EXTRAS if one.kind == "pve" else ())) if not need.core]
    rows = [_required("privileges", core, permissions, one, "reading")]
    if wanted:
        what, fine, text, cure = _required("control", wanted, permissions, one, f"power control at {setting}={level}")
        rows.append((what, fine, f"{text}; {_OTHERS}", cure))
    rows += [_partial(need, permissions) for need in core if _only_below(need, permissions)]
    rows += [_extra(need, one) for need in extras if not need.met(permissions)]
    if rows[0][1]:
        rows += await _read(client, site, one)
    return rows


def _required(what: str, needs: Sequence[Need], permissions: Permissions, one: Endpoint, why: str) -> Row:
    missing = [need for need in needs if not anywhere(permissions, need.path, need.privilege)]
    if not missing:
        return what, True, f"{', '.join(need.privilege for need in needs)}: all that {why} needs", ""
    listed = ", ".join(f"{need.privilege} on {need.path} ({need.feature})" for need in missing)
    return what, False, f"the token lacks what {why} needs: {listed}", _grant(missing, one)


def _grant(missing: Sequence[Need], one: Endpoint) -> str:
    """One grant of the auditor's role on everything, where more than one right to read is missing."""
    if len(missing) > 1 and all(need.privilege.endswith(".Audit") for need in missing):
        lines = [grant_lines(one.kind, "/", _AUDIT[one.kind], one.user, one.token_name)]
    else:
        lines = [grant_lines(one.kind, need.path, need.privilege, one.user, one.token_name) for need in missing]
    return "Run as root on the host (user and token both need it):\n" + "\n".join(lines)


def _only_below(need: Need, permissions: Permissions) -> bool:
    return anywhere(permissions, need.path, need.privilege) and not holds(permissions, need.path, need.privilege)


def _partial(need: Need, permissions: Permissions) -> Row:
    below = need.path.rstrip("/") + "/"
    where = sorted(path for path, listed in permissions.items() if path.startswith(below) and need.privilege in listed)
    shown = ", ".join(where[:3]) + ("…" if where[3:] else "")
    return "privileges", None, f"{need.privilege} only on {shown}: nothing else of {need.feature} is seen", ""


def _extra(need: Need, one: Endpoint) -> Row:
    cure = f"Only if you want that: {grant_lines(one.kind, need.path, need.privilege, one.user, one.token_name)}"
    return "extras", None, f"{need.feature}: not seen without {need.privilege} on {need.path}", cure


async def _read(client: ProxmoxClient, site: SiteSettings, one: Endpoint) -> list[Row]:
    if one.kind == "pbs":
        stores = await client.request("GET", "admin", "datastore", host=one.name)
        return [("read", True, f"{len(_rows(stores))} datastores", "")]
    found = Counter(
        str(row.get("type")) for row in _rows(await client.request("GET", "cluster", "resources", host=one.name))
    )
    guests = found["qemu"] + found["lxc"]
    rows: list[Row] = [("read", True, f"{found['node']} nodes, {guests} guests, {found['storage']} storages", "")]
    if not guests:
        rows.append(("read", None, "there are no guests, or none that this token may see", ""))
    return rows + await _membership(client, site, one)


async def _membership(client: ProxmoxClient, site: SiteSettings, one: Endpoint) -> list[Row]:
    """A host on its own that is part of a cluster: then its other nodes could answer while it is away."""
    if site.clustered:
        return []
    try:
        members = _rows(await client.request("GET", "cluster", "status", host=one.name))
    except ForbiddenError:
        return []
    cluster = next((str(row.get("name")) for row in members if row.get("type") == "cluster"), "")
    if not cluster or sum(row.get("type") == "node" for row in members) < 2:  # noqa: PLR2004
        return []
    cure = "Describe it by PVE_CLUSTER_NAME and PVE_CLUSTER_PRIMARY_…, and other nodes are asked while it is away."
    return [("cluster", None, f"it is a member of the cluster {cluster}, and no other node is asked", cure)]


def _rows(answer: Any) -> list[dict[str, Any]]:
    return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []
