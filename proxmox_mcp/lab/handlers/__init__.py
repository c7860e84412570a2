"""Who answers what: one table of method and path template, put together from one per domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    access,
    agent,
    backup,
    cluster,
    config,
    disks,
    download,
    guests,
    ha,
    hardware,
    jobs,
    lifecycle,
    metrics,
    migrate,
    nodes,
    notify,
    power,
    restore,
    rules,
    snapshots,
    software,
    storage,
    tasks,
)

if TYPE_CHECKING:
    from proxmox_mcp.lab.call import Handler

MODULES = (
    access,
    agent,
    backup,
    cluster,
    config,
    disks,
    download,
    guests,
    ha,
    hardware,
    jobs,
    lifecycle,
    metrics,
    migrate,
    nodes,
    notify,
    power,
    restore,
    rules,
    snapshots,
    software,
    storage,
    tasks,
)
PVE: dict[tuple[str, str], Handler] = {(verb, path): run for module in MODULES for verb, path, run in module.ROUTES}
