"""One Proxmox host, from its name to its rights: each step only if the one before it worked.

The token is sent only to what has shown itself as the right product, behind the right certificate.
"""

import asyncio
import errno
import ipaddress
import json
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.proxmox import tls
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import LEVELS, Level, PermissionSettings, Settings
from proxmox_mcp.check import wire
from proxmox_mcp.check.certificate import check_certificate
from proxmox_mcp.check.findings import Finding
from proxmox_mcp.check.host import PORTS, PRODUCTS, FailedStepError, Host
from proxmox_mcp.check.privileges import privileges

_MAX_SKEW = 60  # seconds
_UNROUTED = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


async def check_hosts(settings: Settings, limit: float) -> list[Finding]:
    """Every host of the settings at once, each within `limit` seconds."""
    asked: set[tuple[str, str, str]] = set()
    hosts = [Host(settings, site, endpoint, asked) for site in settings.sites for endpoint in site.endpoints]
    await asyncio.gather(*(_check(host, limit) for host in hosts))
    return [finding for host in hosts for finding in host.findings]


Step = Callable[[Host], Coroutine[Any, Any, None]]


async def _check(host: Host, limit: float) -> None:
    steps = [step for step in STEPS if step[0] != "dns" or not _literal(host.endpoint.host)]
    done = 0
    try:
        async with asyncio.timeout(limit):
            for _, step in steps:
                await step(host)
                done += 1
    except FailedStepError:
        pass
    except TimeoutError:
        cure = "It is overloaded or hangs; look at it, or at the network in between."
        host.note(steps[done][0], False, f"no answer within {limit:g} seconds", cure)
    for what, _ in steps[done + 1 :]:
        host.note(what, None, f"not tried, since {steps[done][0]} failed")


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _dns(host: Host) -> None:
    name = host.endpoint.host
    try:
        host.addresses = await wire.resolve(name, host.endpoint.port)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a valid name"
        raise host.fail(
            "dns",
            f"the name {name} cannot be resolved ({why})",
            f"Check its spelling in {host.address_key} and this machine's DNS, or write the IP address.",
        ) from error
    except TimeoutError as error:
        cure = f"Check this machine's DNS, or write the IP address into {host.address_key}."
        raise host.fail("dns", f"the DNS server did not answer for {name}", cure) from error
    host.note("dns", True, ", ".join(host.addresses))


async def _tcp(host: Host) -> None:
    port = host.endpoint.port
    started = time.monotonic()
    try:
        host.address = await wire.reach(host.addresses or (host.endpoint.host,), port)
    except ConnectionRefusedError as error:
        usual = PORTS[host.endpoint.kind]
        hint = "" if port == usual else f" (the usual port is {usual})"
        runs = _SERVICE[host.endpoint.kind]
        cure = f"Check host and port in {host.address_key}{hint}, and that the API runs there: {runs}."
        raise host.fail("tcp", f"connection refused: nothing listens on port {port}", cure) from error
    except TimeoutError as error:
        cure = f"Check the address in {host.address_key}, that the host is on, and firewalls on the way."
        raise host.fail("tcp", f"no answer from port {port}", cure) from error
    except OSError as error:
        why = "there is no route to it" if error.errno in _UNROUTED else error.strerror or type(error).__name__
        cure = f"Check the address in {host.address_key}, and that this machine is in the right network."
        raise host.fail("tcp", f"no connection: {why}", cure) from error
    host.note("tcp", True, f"connected in {1000 * (time.monotonic() - started):.0f} ms")


_SERVICE = {"pve": "systemctl status pveproxy", "pbs": "systemctl status proxmox-backup-proxy"}


async def _api(host: Host) -> None:
    """What answers, asked without a token. `/access/domains` is what the login page of both products asks."""
    one = host.endpoint
    context = tls.context(one)
    path = "/api2/json/access/domains"
    try:
        reply = await wire.get(host.address, one.port, path, host=one.host, context=context, name=one.tls_name)
    except (OSError, TimeoutError) as error:
        cure = "It may be overloaded or hanging: look at it."
        raise host.fail("api", "the host did not answer an HTTP request in time", cure) from error
    product = _product(reply)
    if product != one.kind:
        raise host.fail("api", *_other(host, reply, product))
    host.note("api", True, f"{PRODUCTS[product]} answers")
    _clock(host, reply)


def _product(reply: wire.Reply) -> str:
    """`pve`, `pbs`, or empty for anything else."""
    if reply.status == 401:  # noqa: PLR2004 - something stands before it that asks for a login even here
        told = reply.reason + reply.body.decode("utf-8", "replace")
        return "pve" if "No ticket" in told else "pbs" if "authentication credentials" in told else ""
    try:
        realms = {row["type"] for row in json.loads(reply.body)["data"]}
    except (ValueError, TypeError, KeyError):
        return ""
    return next((kind for kind in ("pve", "pbs") if kind in realms), "")


def _other(host: Host, reply: wire.Reply, product: str) -> tuple[str, str]:
    kind = host.endpoint.kind
    if product:
        lists = {"pve": "PVE_NODES (or PVE_CLUSTER_…, PROXMOX_…)", "pbs": "PBS_NODES (or PBS_CLUSTER_…)"}
        return (
            f"this is a {PRODUCTS[product]}, and the settings say {PRODUCTS[kind]}",
            f"Name it in {lists[product]} instead, or correct {host.address_key} (port {PORTS[kind]} is usual).",
        )
    said = f"HTTP status {reply.status} {reply.reason}".strip() if reply.status else "something that is not HTTP"
    where = f"{PRODUCTS[kind]} listens on {PORTS[kind]}, without a login page before it"
    return f"what answers is no Proxmox ({said})", f"Check host and port in {host.address_key}: {where}."


def _clock(host: Host, reply: wire.Reply) -> None:
    skew = reply.date - time.time() if reply.date else 0.0
    if abs(skew) > _MAX_SKEW:
        way = "ahead of" if skew > 0 else "behind"
        host.note(
            "clock",
            None,
            f"its clock is {abs(skew):.0f} seconds {way} this machine's",
            "Set both by NTP (timedatectl): the times of tasks and events come from the hosts.",
        )


async def _token(host: Host) -> None:
    one = host.endpoint
    site = replace(host.site, endpoints=(one,), clustered=False)
    async with ProxmoxClient(site, replace(host.settings.api, retry_attempts=1)) as client:
        try:
            version = await client.request("GET", "version", host=one.name)
        except BridgeError as error:
            raise host.fail("token", error.message, f"{error.cure}\n{_token_keys(host)}".strip()) from error
        release = version.get("version", "?") if isinstance(version, dict) else "?"
        host.note("token", True, f"{one.user}!{one.token_name} is accepted by {PRODUCTS[one.kind]} {release}")
        if host.first_with_token():
            await _rights(host, client)


def _token_keys(host: Host) -> str:
    keys = f"{host.key('USER')}, {host.key('TOKEN_NAME')} and {host.key('TOKEN_VALUE')}"
    primary = host.site.endpoints[0].prefix
    inherited = "" if primary == host.endpoint.prefix else f", and where these are not set by those of {primary}…"
    return f"It is set by {keys}{inherited}."


def _most(permission: PermissionSettings) -> tuple[Level, str]:
    """The highest level that anybody is given, and the setting that gives it: the token needs the rights for it."""
    given = {
        "MCP_ALLOW": permission.mcp_allow,
        "MQTT_ALLOW": permission.mqtt_allow,
        "DISCORD_ALLOW": permission.discord_allow,
    }
    setting = max(given, key=lambda name: LEVELS.index(given[name]))
    return given[setting], setting


async def _rights(host: Host, client: ProxmoxClient) -> None:
    try:
        found = await privileges(client, host.site, host.endpoint, *_most(host.settings.permission))
    except BridgeError as error:
        raise host.fail("privileges", error.message, error.cure) from error
    for what, ok, detail, cure in found:
        host.note(what, ok, detail, cure)


STEPS: tuple[tuple[str, Step], ...] = (
    ("dns", _dns),
    ("tcp", _tcp),
    ("tls", check_certificate),
    ("api", _api),
    ("token", _token),
)
