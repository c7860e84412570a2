"""The METRICS listener: its ports, its token, and whether it answers as Proxmox asks."""

import asyncio
import ipaddress

from mqtt_bridge.listeners.metrics import http_place, udp_place, unguarded
from mqtt_bridge.settings import Settings, is_loopback
from proxmox_mcp.check import wire
from proxmox_mcp.check.findings import Finding
from proxmox_mcp.check.ports import check_place

_SUBJECT = "listener METRICS"
_OURS = b'"proxmox-mcp"'


async def check_metrics(settings: Settings, limit: float) -> list[Finding]:
    """[] when it is not enabled."""
    if "METRICS" not in settings.events.enabled:
        return []
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(limit):
            findings.append(await _http(settings))
            if settings.listen.metrics.udp_port:
                place = udp_place(settings.listen.metrics)
                findings.append(await check_place(settings, _SUBJECT, place, ["udp"]))
    except TimeoutError:
        findings.append(Finding(_SUBJECT, "port", False, f"no answer within {limit:g} seconds", "Look at what hangs."))
    if problem := unguarded(settings.listen.metrics):
        findings.append(Finding(_SUBJECT, "token", False, problem, "Set EVENT_METRICS_TOKEN."))
    elif is_loopback(settings.listen.metrics.host):
        cure = "To receive from Proxmox hosts, set EVENT_METRICS_LISTEN_HOST and EVENT_METRICS_TOKEN."
        findings.append(Finding(_SUBJECT, "sources", None, "only programs on this machine can push", cure))
    return findings


async def _http(settings: Settings) -> Finding:
    """A bridge that runs shows itself in /health."""
    place = http_place(settings.listen.metrics)
    found = await check_place(settings, _SUBJECT, place, ["tcp"])
    if found.ok:
        return found
    try:
        reply = await wire.get(_reachable(place.host), place.port, "/health", host="localhost")
    except OSError:  # TimeoutError is one
        return found
    if _OURS in reply.body:
        return Finding(_SUBJECT, "TCP", True, f"a bridge answers at http://{place.text}/health")
    return found


def _reachable(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "::1" if address.version == 6 else "127.0.0.1"  # noqa: PLR2004
    return host
