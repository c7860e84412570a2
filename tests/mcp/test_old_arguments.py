"""What callers of earlier servers send is accepted as docs/migrating.md says; what it means is in ours."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from pydantic import ValidationError

from mqtt_bridge.settings import Settings
from mqtt_bridge.settings.table import KEYS, ROWS
from proxmox_mcp import schema
from proxmox_mcp.tools import ALL
from proxmox_mcp.tools.base import Arguments
from tests.mcp.test_on_lab import client, lab, permission, settings
from tests.support.asking import ask, refused

__all__ = ["client", "lab", "permission", "settings"]

DOC = Path(__file__).resolve().parents[2] / "docs" / "migrating.md"
TOOLS = {tool.name: tool for tool in ALL}
VM, CT = 100, 109

# As they were sent, what is taken from it.
SENT: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    # JerichoJack/Proxmox-MCP
    ("get_cluster_status", {"include_details": True}, {"site": None}),
    ("get_nodes", {"include_details": True}, {"node": None}),
    ("get_node_status", {"node": "pve1"}, {"node": "pve1"}),
    ("get_vms", {"node": "pve1", "vmid": "100"}, {"node": "pve1", "vmid": 100}),
    ("get_lxcs", {"vmid": "109"}, {"vmid": 109}),
    ("execute_vm_command", {"node": "pve1", "vmid": "100", "command": "stop", "force": False}, {"vmid": 100}),
    ("execute_vm_command", {"node": "pve1", "vmid": "100", "command": "shutdown", "force": True}, {"command": "stop"}),
    ("execute_lxc_command", {"node": "n", "vmid": 109, "command": "stop", "force": True}, {"command": "stop"}),
    ("get_storage", {"node": "pve1", "storage": "local"}, {"node": "pve1", "name": "local"}),
    ("get_recent_tasks", {"node": "pve1", "limit": 50}, {"node": "pve1", "limit": 50}),
    ("get_backup_info", {"node": "pve1"}, {"node": "pve1"}),
    ("get_network_info", {"node": "pve1"}, {"node": "pve1"}),
    ("send_notification", {"title": "t", "message": "m", "severity": "critical"}, {"severity": "critical"}),
    # gilby125/mcp-proxmox
    ("get_guest", {"node": "pve1", "vmid": "100"}, {"vmid": 100}),
    ("create_snapshot", {"node": "pve1", "vmid": "100", "snapname": "s"}, {"name": "s"}),
    ("clone_guest", {"node": "pve1", "vmid": "109", "newid": "200", "hostname": "h"}, {"newid": 200, "name": "h"}),
    ("update_guest", {"node": "pve1", "vmid": "100", "memory": 1024, "cores": 2}, {"memory": 1024, "cores": 2}),
    ("restore_backup", {"node": "n", "vmid": "200", "archive": "a:backup/x"}, {"volume": "a:backup/x", "vmid": 200}),
    ("delete_backup", {"node": "n", "storage": "a", "volume": "a:backup/x"}, {"volume": "a:backup/x"}),
    ("add_disk", {"node": "n", "vmid": "1", "disk": "scsi1", "storage": "s", "size": "10"}, {"size_gb": 10}),
    ("add_disk", {"node": "n", "vmid": "1", "mp": "mp0", "storage": "s", "size": "10"}, {"disk": "mp0"}),
    ("resize_disk", {"node": "n", "vmid": "1", "disk": "scsi0", "size": "+10G"}, {"size": "+10G"}),
    ("remove_disk", {"node": "n", "vmid": "1", "mp": "mp0"}, {"disk": "mp0"}),
    ("move_disk", {"node": "n", "vmid": "1", "disk": "scsi0", "storage": "s", "delete": True}, {"delete": True}),
    (
        "set_network_interface",
        {"node": "n", "vmid": "1", "net": "net1", "bridge": "vmbr0", "vlan": 5, "macaddr": "BC:24:11:00:00:01"},
        {"interface": "net1", "tag": 5, "mac": "BC:24:11:00:00:01"},
    ),
    ("set_network_interface", {"node": "n", "vmid": "1", "net": "net1", "ip": "dhcp", "gw": "192.0.2.1"},
     {"gateway": "192.0.2.1"}),
    ("remove_network_interface", {"node": "n", "vmid": "1", "net": "net1"}, {"interface": "net1"}),
    # RekklesNA/ProxmoxMCP-Plus
    (
        "create_vm",
        {"node": "n", "vmid": "200", "name": "v", "cpus": 2, "memory": 2048, "disk_size": 10, "network_bridge": "b"},
        {"cores": 2, "disk": 10, "bridge": "b"},
    ),
    (
        "create_lxc",
        {"node": "n", "vmid": "200", "ostemplate": "a:vztmpl/x", "hostname": "h", "disk_size": 8, "nesting": True},
        {"template": "a:vztmpl/x", "name": "h", "disk": 8},
    ),
    ("delete_guest", {"node": "n", "vmid": "200", "force": False}, {"vmid": 200}),
    ("list_snapshots", {"node": "n", "vmid": "100", "vm_type": "qemu"}, {"vmid": 100}),
    ("rollback_snapshot", {"node": "n", "vmid": "100", "snapname": "s", "vm_type": "lxc"}, {"name": "s"}),
    ("list_backups", {"node": "n", "storage": "nas", "vmid": "100"}, {"storage": "nas", "vmid": 100}),
    ("create_backup", {"node": "n", "vmid": "1", "storage": "s", "compress": "zstd", "mode": "stop", "notes": "x"},
     {"mode": "stop"}),
    ("delete_backup", {"node": "n", "storage": "a", "volid": "a:backup/x"}, {"volume": "a:backup/x"}),
)  # fmt: skip


@pytest.mark.parametrize(("tool", "sent", "taken"), SENT, ids=[f"{row[0]}-{i}" for i, row in enumerate(SENT)])
def test_what_was_sent_is_taken(tool: str, sent: dict[str, Any], taken: dict[str, Any]) -> None:
    parsed = TOOLS[tool].arguments.model_validate(sent)
    assert {name: getattr(parsed, name) for name in taken} == taken


@pytest.mark.parametrize(
    ("tool", "sent", "says"),
    [
        ("execute_vm_command", {"vmid": 1, "command": "start", "force": True}, "stop and shutdown only"),
        ("execute_vm_command", {"vmid": 1, "command": "stop", "force": "maybe"}, "true or false"),
        ("delete_guest", {"vmid": 1, "force": True}, "stop it first"),
        ("get_storage", {"name": "a", "storage": "b"}, "give one of them"),
        ("create_snapshot", {"vmid": 1, "name": "a", "snapname": "b"}, "give one of them"),
        ("get_vms", {"type": "lxc"}, "Extra inputs"),
    ],
)
def test_what_would_mean_something_else_is_refused(tool: str, sent: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TOOLS[tool].arguments.model_validate(sent)


def test_old_names_are_not_listed_and_lead_to_arguments_that_exist() -> None:
    def models(model: type[Arguments]) -> list[type[Arguments]]:
        return [model, *(each for below in model.__subclasses__() for each in models(below))]

    used = [TOOLS[name].arguments for name in TOOLS]
    for model in models(Arguments):
        if model in used:
            assert {new for new in model.old.values() if new} <= set(model.model_fields), model
            assert not set(model.old) & set(model.model_fields), model
    assert "snapname" not in json.dumps(schema.stored())


async def test_a_forced_shutdown_is_a_stop_and_no_less_guarded(client: Client) -> None:
    order = {"vmid": str(VM), "node": "pve1", "command": "shutdown", "force": True, "dry_run": True}
    answer = await ask(client, "execute_vm_command", **order)
    assert answer["calls"][0]["path"].endswith(f"/qemu/{VM}/status/stop")
    assert "node" in await refused(client, "execute_vm_command", **{**order, "node": "pve9"})


async def test_one_guest_of_a_list(client: Client) -> None:
    found = await ask(client, "get_vms", vmid=str(VM))
    assert [guest["vmid"] for guest in found["guests"]] == [VM]
    assert (await ask(client, "get_lxcs", vmid=VM))["total"] == 0
    assert {row["storage"] for row in (await ask(client, "get_storage", storage="local"))["storages"]} == {"local"}


def test_the_document_names_tools_and_settings_that_exist() -> None:
    text = DOC.read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ") and line.count("|") >= 3]
    ours = {name for row in rows for name in re.findall(r"`([a-z]+_[a-z_]+)`", row)}
    assert len(ours) > 30
    arguments = {name for tool in ALL for name in tool.arguments.model_fields}
    assert ours <= set(TOOLS) | arguments, ours - set(TOOLS) - arguments
    keys = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]{4,})(?:=[^`]*)?`", row)}
    known = set(ROWS) | KEYS
    assert len(keys) > 15
    assert keys <= known, keys - known


def test_every_old_name_that_is_accepted_is_in_the_document(settings: Settings) -> None:
    del settings
    text = DOC.read_text(encoding="utf-8")
    for tool in ALL:
        for name in tool.arguments.old:
            assert f"`{name}`" in text, (tool.name, name)
