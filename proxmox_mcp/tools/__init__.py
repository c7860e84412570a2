"""Every tool, in the order in which they are listed."""

from proxmox_mcp.tools import cluster, diagnosis, events, guests, network, notify, power, storage, tasks
from proxmox_mcp.tools.base import Tool

ALL: tuple[Tool, ...] = (
    *cluster.TOOLS,
    *guests.TOOLS,
    *storage.TOOLS,
    *tasks.TOOLS,
    *events.TOOLS,
    *diagnosis.TOOLS,
    *network.TOOLS,
    *power.TOOLS,
    *notify.TOOLS,
)
