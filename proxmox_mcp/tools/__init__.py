"""Every tool, in the order in which they are listed. Modules are imported when their toolset is asked for.

Most servers offer two sets of ten, and making the models of all would be a tenth of a cold start.
"""

from collections.abc import Set as AbstractSet
from functools import cache
from importlib import import_module
from typing import Any

from proxmox_mcp.tools.base import Tool, Toolset

MODULES: dict[Toolset, tuple[str, ...]] = {
    "core": (
        "cluster", "guests", "storage", "tasks", "events", "diagnosis", "network", "permissions", "approvals"
    ),
    "power": ("power",),
    "history": ("metrics_history", "logs", "pools", "ha", "firewall", "replication"),
    "snapshots": ("snapshots_read", "snapshots"),
    "backups": ("backups_read", "backups", "datastores", "datastore_jobs"),
    "provision": ("images", "provision_new", "provision_change"),
    "hardware": ("hardware",),
    "guest": ("addresses", "guest_exec"),
    "iac": ("terraform",),
    "notify": ("notify",),
}  # fmt: skip

ALL: tuple[Tool, ...]


def selected(toolsets: AbstractSet[str]) -> tuple[Tool, ...]:
    """Those that these name (MCP_TOOLSETS, or those of a token): sets, single tools, `all`."""
    single = not toolsets <= MODULES.keys()  # a tool, which may be in any set
    sets = MODULES.keys() if single else toolsets
    return tuple(tool for name in MODULES if name in sets for tool in _of(name) if tool.selected(toolsets))


@cache
def _of(toolset: Toolset) -> tuple[Tool, ...]:
    modules = (import_module(f"{__name__}.{name}") for name in MODULES[toolset])
    return tuple(tool for module in modules for tool in module.TOOLS)


def __getattr__(name: str) -> Any:
    if name != "ALL":
        raise AttributeError(name)
    return selected({"all"})
