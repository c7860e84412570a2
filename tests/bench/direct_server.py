"""A small MCP server as most for Proxmox are: every read asks the API, node by node. What ours is measured against.

`direct_server.py stdio` or `direct_server.py http`, which prints its URL. DIRECT_PORT, DIRECT_USER, DIRECT_TOKEN_NAME
and DIRECT_TOKEN_VALUE name the host on loopback.
"""

import asyncio
import os
import socket
import sys
from typing import Any

import urllib3
import uvicorn
from mcp.server.mcpserver import MCPServer
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException
from requests import RequestException

urllib3.disable_warnings()
api = ProxmoxAPI(
    "127.0.0.1",
    port=int(os.environ["DIRECT_PORT"]),
    user=os.environ["DIRECT_USER"],
    token_name=os.environ["DIRECT_TOKEN_NAME"],
    token_value=os.environ["DIRECT_TOKEN_VALUE"],
    verify_ssl=False,
)
server = MCPServer("direct")


@server.tool()
def get_vms() -> list[dict[str, Any]]:
    """List virtual machines; a node that does not answer is left out."""
    found = []
    for node in api.nodes.get():
        try:
            rows = api.nodes(node["node"]).qemu.get()
        except (ResourceException, RequestException):
            continue
        keys = ("vmid", "name", "status", "cpu", "cpus", "mem", "maxmem", "uptime", "tags")
        found += [{"node": node["node"], **{key: row.get(key) for key in keys}} for row in rows]
    return found


async def http() -> None:
    with socket.socket(proto=socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        config = uvicorn.Config(server.streamable_http_app(), log_level="error")
        sys.stdout.write(f"http://127.0.0.1:{sock.getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        await uvicorn.Server(config).serve(sockets=[sock])


if sys.argv[1] == "http":
    asyncio.run(http())
else:
    server.run("stdio")
