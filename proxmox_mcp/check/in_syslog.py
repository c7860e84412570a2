"""The SYSLOG listener: its port, who may send, and how much the kernel keeps while we are busy."""

import asyncio
from pathlib import Path

from mqtt_bridge.listeners.sockets import RECEIVE_BUFFER, Protocol
from mqtt_bridge.listeners.syslog import SyslogListener
from mqtt_bridge.settings import Settings, is_loopback
from proxmox_mcp.check.findings import Finding
from proxmox_mcp.check.ports import check_place

_SUBJECT = "listener SYSLOG"
_RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
_SMALL = RECEIVE_BUFFER // 4


async def check_syslog(settings: Settings, limit: float) -> list[Finding]:
    """[] when it is not enabled."""
    if "SYSLOG" not in settings.events.enabled:
        return []
    chosen = settings.listen.syslog
    listener = SyslogListener(chosen)
    protocols: list[Protocol] = [name for name in ("udp", "tcp") if name in chosen.protocols]
    try:
        async with asyncio.timeout(limit):
            findings = [await check_place(settings, _SUBJECT, listener.place, protocols)]
    except TimeoutError:
        findings = [Finding(_SUBJECT, "port", False, f"{chosen.host} could not be resolved in time", "")]
    if problem := listener.unguarded():
        findings.append(Finding(_SUBJECT, "sources", False, problem, "Set EVENT_SYSLOG_ALLOWED_SOURCES."))
    elif is_loopback(chosen.host):
        cure = "To receive from Proxmox hosts, set EVENT_SYSLOG_LISTEN_HOST and EVENT_SYSLOG_ALLOWED_SOURCES."
        findings.append(Finding(_SUBJECT, "sources", None, "only programs on this machine can send", cure))
    if "udp" in protocols and (size := _rmem_max()) and size < _SMALL:
        detail = f"the kernel keeps at most {size // 1024} KiB of UDP while the bridge is busy, and drops what is more"
        cure = f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER} (and in /etc/sysctl.d), or let the hosts send over TCP."
        findings.append(Finding(_SUBJECT, "UDP buffer", None, detail, cure))
    return findings


def _rmem_max() -> int:
    try:
        return int(_RMEM_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
