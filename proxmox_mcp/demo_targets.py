"""The demo's hosts tell of themselves by every channel that Proxmox has: notification targets and syslog.

The webhook's template is the one of docs/listeners-webhook.md (a test compares them).
"""

import asyncio
import base64
import secrets
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from mqtt_bridge.app import Bridge
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import Settings
from proxmox_mcp.lab import Lab

NAME = "proxmox-mcp"
HOST = "127.0.0.1"
PORTS = {"EVENT_WEBHOOK_LISTEN_PORT": 8090, "EVENT_SMTP_LISTEN_PORT": 2525, "EVENT_SYSLOG_LISTEN_PORT": 5514}
READY = 5.0  # seconds for the listeners
TEMPLATE = """\
{
  "title": {{ json title }},
  "message": {{ json message }},
  "severity": {{ json severity }},
  "timestamp": {{ json timestamp }},
  "fields": {{ json fields }},
  "template": 1
}
"""
PATHS = {"pve": ("cluster", "notifications"), "pbs": ("config", "notifications")}


def listening() -> dict[str, str]:
    """Settings that let the demo listen on this machine, at the usual ports or, where those are taken, at free ones."""
    ports = {key: str(_free(port)) for key, port in PORTS.items()}
    return {
        **ports,
        "ENABLED_EVENT_LISTENERS": "WEBSOCKET,WEBHOOK,SMTP,SYSLOG",
        "EVENT_WEBHOOK_TOKEN": secrets.token_urlsafe(24),
    }


def _free(preferred: int) -> int:
    for port in (preferred, 0):
        with closing(socket.socket()) as tcp, closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp:
            try:
                tcp.bind((HOST, port))
                found = int(tcp.getsockname()[1])
                udp.bind((HOST, found))
            except OSError:
                continue
            return found
    return preferred


async def aim(lab: Lab, bridge: Bridge, settings: Settings) -> None:
    """Point the lab's hosts at the listeners that run, once they do."""
    async with asyncio.timeout(READY):
        while any(info.status == "starting" for info in bridge.events.info().values()):  # noqa: ASYNC110 -- a glance
            await asyncio.sleep(0.05)
    enabled, listen = settings.events.enabled, settings.listen
    targets: dict[str, Mapping[str, Any]] = {}
    if "WEBHOOK" in enabled and listen.webhook.token:
        token, url = listen.webhook.token.reveal(), f"http://{HOST}:{listen.webhook.port}"
        targets["webhook"] = _webhook(f"{url}/webhook", token)
        targets["gotify"] = {"server": url, "token": token}
    if "SMTP" in enabled:
        targets["smtp"] = {
            "server": HOST,
            "port": listen.smtp.port,
            "mode": "insecure",
            "mailto": ["proxmox@demo.example"],
            "from-address": "root@demo.example",
        }
    for site in settings.sites:
        await _tell(bridge.pollers.clients[site.slug], PATHS[site.kind], targets)
    if "SYSLOG" in enabled:
        lab.forward_syslog(HOST, listen.syslog.port, "udp")


def _webhook(url: str, token: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer {{ secrets.token }}"}
    return {
        "method": "post",
        "url": url,
        "header": [f"name={name},value={_b64(value)}" for name, value in headers.items()],
        "secret": [f"name=token,value={_b64(token)}"],
        "body": _b64(TEMPLATE),
    }


async def _tell(client: ProxmoxClient, path: tuple[str, str], targets: Mapping[str, Mapping[str, Any]]) -> None:
    for kind, fields in targets.items():
        await client.post(*path, "endpoints", kind, name=f"{NAME}-{kind}", **fields)
    names = [f"{NAME}-{kind}" for kind in targets]
    await client.post(*path, "matchers", name=f"to-{NAME}", target=names)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
