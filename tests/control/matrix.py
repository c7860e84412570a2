"""Who may use which tool: tokens of MCP clients and tokens of Proxmox, over real HTTP on a lab of their own."""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from mqtt_bridge.approvals import Approvals
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Level, Settings, SiteSettings, load
from proxmox_mcp.control import Control
from proxmox_mcp.http import HttpServer
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.lab.access import Acl, User
from proxmox_mcp.lab.state import Snapshot
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import private_poller
from proxmox_mcp.state import State
from proxmox_mcp.tools import ALL
from tests.support.asking import text
from tests.support.held import held
from tests.support.watched import fast

NAMES: Mapping[str, Level] = {"auditor": "read", "operator": "operate", "admin": "exec"}
ACCOUNTS = {"auditor": "audit@pve!ro", "operator": "oper@pve!mcp", "admin": "root@pam!full"}
PBS_ACCOUNTS = {"auditor": "root@pam!ro", "operator": "root@pam!ro", "admin": "root@pam!full"}
HOST = "images.example.org"


@dataclass(frozen=True)
class Column:
    """Whose MCP token, whose Proxmox token, and whether people have to approve."""

    title: str
    mcp: str
    proxmox: str
    approvals: bool = True


COLUMNS = (
    Column("auditor", "auditor", "auditor"),
    Column("operator", "operator", "operator"),
    Column("admin", "admin", "admin"),
    Column("admin, no approvals", "admin", "admin", approvals=False),
    Column("admin, Proxmox token of the operator", "admin", "operator", approvals=False),
    Column("admin, Proxmox token of the auditor", "admin", "auditor", approvals=False),
)


def orders(lab: Lab) -> dict[str, dict[str, Any]]:
    """One call of each tool that works for whoever may do all, in this order, on guests that do not disturb each other.

    A tool that is not in it is called without arguments.
    """
    backups = {v.vmid: v.volid for place in lab.world.storages["pbs1"].volumes.values() for v in place}
    upid = next(task.upid for task in lab.world.tasks.by_upid.values() if task.node == "pve1")
    return {
        "get_node_status": {"node": "pve1"},
        "get_guest": {"vmid": 100},
        "get_task": {"upid": upid},
        "get_metrics_history": {"node": "pve1"},
        "get_logs": {"node": "pve1", "limit": 5},
        "list_snapshots": {"vmid": 100},
        "get_guest_ips": {"vmid": 118},
        "generate_terraform": {"vmids": [101]},
        "list_images": {"node": "pve1"},
        "execute_vm_command": {"vmid": 111, "command": "shutdown"},
        "execute_lxc_command": {"vmid": 112, "command": "shutdown"},
        "execute_node_command": {"node": "pve3", "command": "startall", "vmids": [120], "timeout": 20},
        "create_snapshot": {"vmid": 121, "name": "one"},
        "rollback_snapshot": {"vmid": 100, "name": "clean"},
        "delete_snapshot": {"vmid": 119, "name": "clean"},
        "create_backup": {"vmid": 121, "storage": "nas"},
        "restore_backup": {"volume": backups[103], "vmid": 150, "node": "pve1", "storage": "local-lvm"},
        "delete_backup": {"volume": backups[101]},
        "run_datastore_job": {"datastore": "main", "job": "verify"},
        "download_image": {"url": f"https://{HOST}/x.iso", "checksum": "a" * 64, "storage": "local", "content": "iso",
                           "node": "pve1"},
        "create_vm": {"node": "pve1", "vmid": 151, "diskless": True},
        "create_lxc": {"node": "pve1", "vmid": 152, "storage": "local-lvm",
                       "template": "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"},
        "clone_guest": {"vmid": 9000, "newid": 153},
        "update_guest": {"vmid": 103, "cores": 3},
        "set_cloudinit": {"vmid": 121, "storage": "ceph-vm", "user": "me"},
        "migrate_guest": {"vmid": 105, "target": "pve1"},
        "add_disk": {"vmid": 106, "storage": "ceph-vm", "size_gb": 1},
        "resize_disk": {"vmid": 108, "disk": "scsi0", "size": "+1G"},
        "move_disk": {"vmid": 113, "disk": "scsi0", "storage": "ceph-vm"},
        "remove_disk": {"vmid": 110, "disk": "scsi0"},
        "set_network_interface": {"vmid": 118, "interface": "net0", "tag": 5},
        "remove_network_interface": {"vmid": 115, "interface": "net0"},
        "run_guest_command": {"vmid": 118, "argv": ["true"]},
        "convert_to_template": {"vmid": 110},
        "delete_guest": {"vmid": 117},
        "send_notification": {"message": "hello"},
    }  # fmt: skip


def prepare(lab: Lab) -> None:
    """The operator: may look at everything, and has PVEVMUser on guests and PVEDatastoreUser on storages."""
    access = lab.world.access
    access.users["oper@pve"] = User("oper@pve")
    access.add_token(lab.world.rng, "oper@pve", "mcp", privsep=False)
    for path, role in (("/", "PVEAuditor"), ("/vms", "PVEVMUser"), ("/storage", "PVEDatastoreUser")):
        access.acls.append(Acl(path, "user", "oper@pve", role))
    access.forget()
    lab.guest(119).snapshots = [Snapshot("clean", 1_760_000_000, config=dict(lab.guest(119).config))]


def _as(lab: Lab, site: SiteSettings, who: str) -> SiteSettings:
    token = lab.account((ACCOUNTS if site.kind == "pve" else PBS_ACCOUNTS)[who])
    endpoints = tuple(
        replace(one, user=token.user, token_name=token.name, token_value=Secret(token.value)) for one in site.endpoints
    )
    return replace(site, endpoints=endpoints)


def _settings(lab: Lab, column: Column, folder: Path) -> Settings:
    path = folder / "tokens.json"
    entries = {
        name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "level": level, "toolsets": ["all"]}
        for name, level in NAMES.items()
    }
    path.write_text(json.dumps(entries))
    path.chmod(0o600)
    more = {} if column.approvals else {"APPROVAL_REQUIRED": "none"}
    env = {**lab.env, "STATE_DIR": str(folder), "MCP_TOKENS_FILE": str(path), "IMAGE_URL_ALLOWLIST": HOST, **more}
    found = fast(load(env, search=False))
    found = replace(found, api=replace(found.api, rate_limit=100_000))
    return replace(found, sites=tuple(_as(lab, site, column.proxmox) for site in found.sites))


@asynccontextmanager
async def opened(column: Column, folder: Path) -> AsyncIterator[tuple[Lab, Client]]:
    """A lab, a server with the column's Proxmox token, and a client with its MCP token."""
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(LabOptions(speed=50, pvestatd_interval=0, auth_delay=0.05)))
        prepare(lab)
        settings = _settings(lab, column, folder)
        clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
        state = await stack.enter_async_context(
            State(None, lambda: private_poller(settings), sites=list(clients), wait=20)
        )
        approvals = await stack.enter_async_context(Approvals(folder, settings.approval))
        server = build_server(settings, state, Control(settings, clients, approvals), clients)
        http = await stack.enter_async_context(HttpServer(server, host="127.0.0.1", port=0))
        web = httpx2.AsyncClient(headers={"Authorization": f"Bearer {column.mcp}"}, trust_env=False, timeout=60)
        yield lab, await stack.enter_async_context(held(Client(streamable_http_client(http.url, http_client=web))))


@dataclass(frozen=True)
class Cell:
    """Whether it is listed, and what came of the call."""

    listed: bool
    came: str
    said: str

    def __str__(self) -> str:
        return f"{'' if self.listed else 'not listed; '}{self.came}"


async def cells(column: Column, folder: Path) -> tuple[dict[str, Cell], list[str]]:
    """Each tool called once, and the writes that the lab got."""
    async with opened(column, folder) as (lab, client):
        listed = {tool.name for tool in (await client.list_tools()).tools}
        calls = orders(lab)
        names = [*(t.name for t in ALL if t.name not in calls), *calls]
        found = {}
        for name in names:
            result = await client.call_tool(name, calls.get(name, {}))
            found[name] = Cell(name in listed, _came(result), text(result))
        writes = [f"{r.method} {r.path}" for r in lab.requests if r.method != "GET"]
        assert (lab.violations, lab.unsimulated) == ([], [])
        return found, writes


_GRANT = re.compile(r"pveum acl modify (\S+) [^;\n]*?--roles (\S+)|proxmox-backup-manager acl update (\S+) (\S+)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+Z")
_LEVEL = re.compile(r"level '(\w+)'")


def _came(result: CallToolResult) -> str:
    said = text(result)
    if result.structured_content and result.structured_content.get("status") == "approval_required":
        return "approval"
    if not result.is_error:
        return "ok"
    if "is not permitted" in said and (level := _LEVEL.search(said)):
        return f"policy: needs {level[1]}"
    if grants := _GRANT.findall(said):
        return "Proxmox: " + " + ".join(dict.fromkeys(f"{b or d} on {a or c}" for a, b, c, d in grants))
    return f"error: {_TIME.sub('TIME', said.splitlines()[0])[:120]}"
