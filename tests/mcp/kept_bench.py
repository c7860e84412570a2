"""An MCP client that may change a lab with its Backup Server."""

import dataclasses
from contextlib import AsyncExitStack
from pathlib import Path

from mcp import Client

from mqtt_bridge.actions import Actions
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import PermissionSettings, load
from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab import Lab
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import private_poller
from proxmox_mcp.state import State
from tests.support.held import held
from tests.support.watched import fast

ALLOWED = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
OPERATE = dataclasses.replace(ALLOWED, mcp_allow="operate")


async def connected(stack: AsyncExitStack, lab: Lab, folder: Path, permission: PermissionSettings) -> Client:
    """Until the stack is closed."""
    env = {**lab.env, "STATE_DIR": str(folder / "state"), "MCP_TOOLSETS": "all"}
    settings = dataclasses.replace(fast(load(env, search=False)), permission=permission)
    clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
    state = await stack.enter_async_context(
        State(None, lambda: private_poller(settings), sites=[s.slug for s in settings.sites], wait=10)
    )
    actions = Actions(clients, permission, Audit(settings.general.state_dir), me=Identity())
    return await stack.enter_async_context(held(Client(build_server(settings, state, actions, clients))))
