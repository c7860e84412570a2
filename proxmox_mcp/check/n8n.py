"""What n8n has to write into its nodes to reach the MCP server, and what keeps it from that."""

import ipaddress
import socket
from collections.abc import Iterator

from mqtt_bridge.settings import McpSettings, Settings
from proxmox_mcp.check.findings import Finding

SUBJECT = "n8n"
DOCKER = "host.docker.internal"
_SOMEWHERE = ("192.0.2.1", 9)  # no packet is sent: it only tells which address of ours is used outwards


async def check_n8n(settings: Settings, limit: float) -> list[Finding]:
    """Notes alone: who has no n8n lacks nothing."""
    del limit
    return list(found(settings.mcp, own_address()))


def own_address() -> str:
    """The address of this machine that others see; loopback's where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def found(mcp: McpSettings, address: str) -> Iterator[Finding]:
    """The URL for n8n here, in Docker, and elsewhere, each with what it lacks."""
    if not mcp.port:
        yield Finding(SUBJECT, "mcpUrl", None, "not known beforehand", "Set MCP_HTTP_PORT to a port that stays.")
        return
    here = f"http://127.0.0.1:{mcp.port}/mcp"
    if _loopback(mcp.host):
        cure = f"MCP_HTTP_HOST=0.0.0.0, a token, and MCP_ALLOWED_HOSTS={DOCKER}: n8n_workflows/README.md"
        yield Finding(SUBJECT, "mcpUrl", None, f"{here}, on this machine and not in Docker; in Docker: none", cure)
        return
    wide = mcp.host in {"0.0.0.0", "::"}  # noqa: S104 -- what is configured
    outside = f"http://{_literal(address if wide else mcp.host)}:{mcp.port}/mcp"
    yield Finding(SUBJECT, "mcpUrl", None, f"{outside} from other machines" + (f"; {here} on this one" if wide else ""))
    allowed = {name.casefold().partition(":")[0] for name in mcp.allowed_hosts}
    cure = "" if DOCKER in allowed else f"MCP_ALLOWED_HOSTS does not name it yet: add {DOCKER}"
    yield Finding(SUBJECT, "mcpUrl in Docker", None, f"http://{DOCKER}:{mcp.port}/mcp on this machine", cure)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host
