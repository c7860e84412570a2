"""An MCP client of a server that reads a lab, with the rights of one of the lab's tokens."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from mcp import Client

from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import McpSettings, load
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import private_poller
from proxmox_mcp.state import State
from tests.support.held import held
from tests.support.watched import fast

QUICK = LabOptions(speed=20, pvestatd_interval=0, auth_delay=0.05, dead_node_delay=0.05)


@asynccontextmanager
async def lab_client(lab: Lab, state_dir: Path, who: str = "root@pam!full") -> AsyncIterator[Client]:
    """`who` is one of the lab's tokens (`audit@pve!ro`: PVEAuditor); the Backup Server's may do all."""
    account = lab.account(who)
    mine = {
        "PVE_CLUSTER_PRIMARY_USER": account.user,
        "PVE_CLUSTER_PRIMARY_TOKEN_NAME": account.name,
        "PVE_CLUSTER_PRIMARY_TOKEN_VALUE": account.value,
    }
    settings = fast(load({**lab.env, **mine, "STATE_DIR": str(state_dir)}, search=False))
    settings = dataclasses.replace(settings, mcp=McpSettings(toolsets=frozenset({"all"})))
    async with AsyncExitStack() as stack:
        clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
        state = await stack.enter_async_context(
            State(None, lambda: private_poller(settings), sites=[s.slug for s in settings.sites], wait=10)
        )
        yield await stack.enter_async_context(held(Client(build_server(settings, state, None, clients))))
