"""`proxmox-mcp check`: whether what is configured works, each line with its cause and cure.

A listener or notifier plugs in by one more row in CHECKS.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mqtt_bridge.settings import Settings
from proxmox_mcp.check.approving import check_approvals
from proxmox_mcp.check.broker import check_broker
from proxmox_mcp.check.findings import Finding, passed, render, to_json
from proxmox_mcp.check.homeassistant import check_homeassistant
from proxmox_mcp.check.hosts import check_hosts
from proxmox_mcp.check.in_discord import check_discord
from proxmox_mcp.check.in_email import check_email
from proxmox_mcp.check.in_gotify import check_gotify
from proxmox_mcp.check.in_metrics import check_metrics
from proxmox_mcp.check.in_smtp import check_smtp
from proxmox_mcp.check.in_syslog import check_syslog
from proxmox_mcp.check.in_webhook import check_webhook
from proxmox_mcp.check.local import check_port, check_settings, check_state_dir
from proxmox_mcp.check.n8n import check_n8n
from proxmox_mcp.check.out_bridge import check_bridges
from proxmox_mcp.check.out_look import NOT_SENT, check_notifiers
from proxmox_mcp.check.out_test import send_tests

__all__ = ["Finding", "passed", "render", "run_checks", "to_json"]

Check = Callable[[Settings, float], Awaitable[list[Finding]]]
LIMIT = 15.0  # seconds for each host and each other thing; all run at once

# Each gets the settings and its limit in seconds, and ends in time whatever it talks to does.
CHECKS: tuple[Check, ...] = (
    check_hosts,
    check_broker,
    check_port,
    check_state_dir,
    check_settings,
    check_approvals,
    check_homeassistant,
    check_email,
    check_smtp,
    check_syslog,
    check_gotify,
    check_webhook,
    check_discord,
    check_metrics,
    check_notifiers,
    check_bridges,
    check_n8n,
)


# Of those, what concerns a process that only notifies.
NOTIFY_CHECKS = (check_broker, check_state_dir, check_settings, check_notifiers, check_bridges)


async def run_checks(
    settings: Settings, *, limit: float = LIMIT, send_test: bool = False, checks: Sequence[Check] = CHECKS
) -> list[Finding]:
    """Everything at once; the findings in the order of `checks`. With `send_test` each notifier tells one, last."""
    found = await asyncio.gather(*(check(settings, limit) for check in checks))
    tests = await send_tests(settings) if send_test else []
    looked = (finding for findings in found for finding in findings if not (tests and finding == NOT_SENT))
    return [*looked, *tests]
