"""The server with the suite's fixtures on a published site; prints its URL and serves until standard input closes.

python -m tests.conformance.serve [--plain]     --plain: our tools alone, as the inspector should see them
"""

import argparse
import asyncio
import secrets
import sys

from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.settings import McpSettings, PermissionSettings, Settings
from proxmox_mcp.http import HttpServer
from proxmox_mcp.server import ProxmoxServer, build_server
from proxmox_mcp.state import State
from tests.conformance.fixtures import FixtureServer
from tests.support.site import Site

SETTINGS = Settings(mcp=McpSettings(toolsets=frozenset({"all"})), permission=PermissionSettings(mcp_allow="exec"))


async def change(site: Site) -> None:
    """So that whoever subscribed to guest 100 is told."""
    await site.put("guest", site.guest(100, tags=(secrets.token_hex(4),)), vmid=100)


async def main(*, plain: bool) -> None:
    """Serve."""
    hub = Loopback()
    async with hub.client() as bus:
        site = Site(bus)
        await site.publish()
        async with State(hub.client, sites=["lab"]) as state:
            await state.view()
            made: ProxmoxServer = build_server(SETTINGS, state)
            if not plain:
                made = FixtureServer(SETTINGS, state, lambda: change(site))
            async with HttpServer(made, host="127.0.0.1", port=0) as http:
                print(http.url, flush=True)  # noqa: T201 -- read by scripts/conformance
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true")
    asyncio.run(main(plain=parser.parse_args().plain))
