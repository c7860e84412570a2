"""Approvals: who could approve what needs one, and whether the broker binds names where it has to."""

import asyncio

from mqtt_bridge.approvals.binding import unbound
from mqtt_bridge.errors import BrokerError
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.settings import Settings
from mqtt_bridge.statedir import broker_options
from mqtt_bridge.topics import Topics
from proxmox_mcp.check.findings import Finding

SUBJECT = "approvals"
CONNECT = 8.0  # seconds


async def check_approvals(settings: Settings, limit: float) -> list[Finding]:
    """Nothing is said where nothing needs an approval."""
    if not settings.permission.approval_required:
        return []
    found = [_approvers(settings)]
    if settings.approval.mqtt == "broker" and (options := broker_options(settings.mqtt)):
        names, site = Topics(settings.mqtt.base_topic), next((s.slug for s in settings.sites), "unassigned")
        try:
            async with asyncio.timeout(min(limit, CONNECT)), Broker(options, role="check") as bus:
                await bus.first_attempt()
                why = await unbound(bus, names, site)
        except (BrokerError, TimeoutError):
            found.append(Finding(SUBJECT, "bound by the broker", None, "not tried, since the broker does not answer"))
        else:
            detail = why or "the broker lets nobody decide under another's name"
            cure = "Until then nobody can approve over MQTT; APPROVAL_MQTT=proof needs no ACL." if why else ""
            found.append(Finding(SUBJECT, "bound by the broker", not why, detail, cure))
    return found


def _approvers(settings: Settings) -> Finding:
    approvers = settings.approval.approvers
    if approvers:
        names = ", ".join(one.name for one in approvers)
        silent = ", ".join(one.name for one in approvers if not one.ways)
        cure = (
            f"No one-time codes are sent to {silent}: append ;email=… or ;ntfy=… (docs/approvals.md)." if silent else ""
        )
        return Finding(SUBJECT, "approvers", None, names, cure)
    risks = ", ".join(sorted(settings.permission.approval_required))
    return Finding(
        SUBJECT,
        "approvers",
        None,
        f"nobody is configured, so nobody can approve what is of risk {risks}",
        "`proxmox-mcp approvals add-approver NAME` makes one; over stdio the person at the client is asked.",
    )
