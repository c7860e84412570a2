"""Another process that makes clones on a lab: prints their ids. Run by the test of ids."""

import asyncio
import json
import sys
from pathlib import Path

from mqtt_bridge.actions import Actions
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import ApiSettings, Endpoint, PermissionSettings, SiteSettings
from mqtt_bridge.targets import GuestRef
from mqtt_bridge.whoami import Identity
from tests.approvals.making import AGENT
from tests.policy.bench import TEMPLATE

MANY = 6


async def main(where: str, folder: str) -> None:
    port, fingerprint, user, name, value = json.loads(where)
    endpoint = Endpoint("pve1", "127.0.0.1", port, "pve", user, name, Secret(value), fingerprint=fingerprint)
    settings = SiteSettings("lab", "lab", "pve", (endpoint,), clustered=True)
    open_to_all = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
    async with ProxmoxClient(settings, ApiSettings(timeout=20, rate_limit=100_000)) as client:
        actions = Actions({"lab": client}, open_to_all, Audit(Path(folder)), me=Identity())
        orders = (actions.perform(AGENT, "guest.clone", GuestRef(TEMPLATE), args={}, timeout=100) for _ in range(MANY))
        made = [result.details["vmid"] for result in await asyncio.gather(*orders)]
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
