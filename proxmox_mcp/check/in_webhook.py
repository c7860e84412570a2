"""The webhook listener: may it start, can it listen, or does it already; who can reach it, and how safely."""

import asyncio
import errno
import ipaddress
import socket
import ssl

from mqtt_bridge.listeners.gotify_answers import VERSION
from mqtt_bridge.listeners.webhook import problem, tls_context
from mqtt_bridge.settings import Settings, is_loopback
from mqtt_bridge.settings.listening import WebhookInSettings
from proxmox_mcp.check import wire
from proxmox_mcp.check.findings import Finding

_SUBJECT = "listener WEBHOOK"
_DOCS = "docs/listeners-webhook.md has the steps in Proxmox."


async def check_webhook(settings: Settings, limit: float) -> list[Finding]:
    """Empty when it is not enabled. Nothing is sent to it that makes an event."""
    if "WEBHOOK" not in settings.events.enabled:
        return []
    own = settings.listen.webhook
    if wrong := problem(own):
        return [Finding(_SUBJECT, "settings", False, wrong[0].upper() + wrong[1:])]
    try:
        tls = await asyncio.to_thread(tls_context, own)
    except OSError as error:
        why = error.strerror or type(error).__name__
        cure = "EVENT_WEBHOOK_CERT_FILE is the certificate with its chain, EVENT_WEBHOOK_KEY_FILE its key, both PEM."
        return [Finding(_SUBJECT, "certificate", False, f"certificate and key cannot be used: {why}", cure)]
    return [await _port(own, limit, tls=tls is not None), *_reachable(own)]


async def _port(own: WebhookInSettings, limit: float, *, tls: bool) -> Finding:
    where = f"[{own.host}]:{own.port}" if ":" in own.host else f"{own.host}:{own.port}"
    try:
        async with asyncio.timeout(limit):
            address = (await wire.resolve(own.host, own.port))[0]
            try:
                _bind(address, own.port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return await _in_use(address, own.port, where, tls=tls)
    except OSError as error:  # TimeoutError is one
        why = error.strerror or type(error).__name__
        cure = "EVENT_WEBHOOK_LISTEN_HOST needs an address of this machine, EVENT_WEBHOOK_LISTEN_PORT one above 1023."
        return Finding(_SUBJECT, "port", False, f"cannot listen at {where}: {why}", cure)
    return Finding(_SUBJECT, "port", True, f"{where} is free", _DOCS)


def _bind(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((address, port))
        trial.listen()


async def _in_use(address: str, port: int, where: str, *, tls: bool) -> Finding:
    """By our own bridge, or by something else: no token is sent to find out."""
    if ipaddress.ip_address(address).is_unspecified:
        address = "::1" if ":" in address else "127.0.0.1"
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        reply = await wire.get(address, port, "/version", host="localhost", context=context)
    except OSError:
        reply = wire.Reply(0, "", {}, b"")
    if reply.status == 200 and f'"{VERSION["commit"]}"'.encode() in reply.body:  # noqa: PLR2004
        return Finding(_SUBJECT, "port", True, f"a bridge already listens at {where}", _DOCS)
    cure = "Stop what uses it (ss -ltnp shows it), or choose another EVENT_WEBHOOK_LISTEN_PORT."
    return Finding(_SUBJECT, "port", False, f"{where} is used by another program", cure)


def _reachable(own: WebhookInSettings) -> list[Finding]:
    if is_loopback(own.host):
        cure = "Set EVENT_WEBHOOK_LISTEN_HOST=0.0.0.0 and EVENT_WEBHOOK_TOKEN for Proxmox on other machines."
        return [Finding(_SUBJECT, "reach", None, "only this machine can send to it", cure)]
    if not own.cert_file:
        cure = "Set EVENT_WEBHOOK_CERT_FILE and EVENT_WEBHOOK_KEY_FILE, or put a proxy with HTTPS before it."
        return [Finding(_SUBJECT, "encryption", None, "the token crosses the network unencrypted", cure)]
    return []
