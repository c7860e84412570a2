"""The SMTP listener: may it start, can it have its port, who may send, and how safely."""

import asyncio

from mqtt_bridge.listeners.smtp import SmtpListener, open_to_strangers
from mqtt_bridge.settings import Settings, is_loopback
from proxmox_mcp.check.findings import Finding
from proxmox_mcp.check.ports import check_place

_SUBJECT = "listener SMTP"


async def check_smtp(settings: Settings, limit: float) -> list[Finding]:
    """[] when it is not enabled."""
    if "SMTP" not in settings.events.enabled:
        return []
    chosen = settings.listen.smtp
    if problem := open_to_strangers(chosen):
        cure = "Set EVENT_SMTP_ALLOWED_SOURCES, or EVENT_SMTP_USERNAME and EVENT_SMTP_PASSWORD."
        return [Finding(_SUBJECT, "sources", False, problem, cure)]
    try:
        async with asyncio.timeout(limit):
            findings = [await check_place(settings, _SUBJECT, SmtpListener(chosen).place, ("tcp",))]
    except TimeoutError:
        findings = [Finding(_SUBJECT, "TCP", False, f"{chosen.host} could not be resolved in time")]
    if is_loopback(chosen.host):
        cure = "To receive from Proxmox hosts, set EVENT_SMTP_LISTEN_HOST and EVENT_SMTP_ALLOWED_SOURCES."
        findings.append(Finding(_SUBJECT, "sources", None, "only programs on this machine can send", cure))
    elif chosen.username:
        detail = "the password crosses the network unencrypted: there is no TLS here"
        findings.append(Finding(_SUBJECT, "encryption", None, detail, "Keep it to a network that you trust."))
    return findings
