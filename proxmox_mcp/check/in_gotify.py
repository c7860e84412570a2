"""The Gotify server that is read: is the token taken, is the stream open, which applications are there."""

import asyncio
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from mqtt_bridge.listeners.gotify_client import GotifyClient, GotifyError
from mqtt_bridge.settings import Settings, is_loopback
from mqtt_bridge.settings.listening import GotifyInSettings
from proxmox_mcp.check.findings import Finding

_SUBJECT = "listener GOTIFY_IN"
_STEPS = ("login", "stream", "applications")


async def check_gotify(settings: Settings, limit: float) -> list[Finding]:
    """Empty when it is not enabled. Reads only; nothing is taken as an event."""
    if "GOTIFY_IN" not in settings.events.enabled:
        return []
    own = settings.listen.gotify
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(limit), GotifyClient(own) as client:
            await _try(client, own, findings)
    except GotifyError as error:
        findings.append(Finding(_SUBJECT, _STEPS[len(findings)], False, error.message, error.cure))
    except TimeoutError:
        cure = "It is overloaded or hangs: look at it, and at a proxy before it."
        findings.append(Finding(_SUBJECT, _STEPS[len(findings)], False, f"no answer within {limit:g} seconds", cure))
    return [*findings, *_encryption(own)]


async def _try(client: GotifyClient, own: GotifyInSettings, findings: list[Finding]) -> None:
    page = await client.page()
    newest = f", the newest message has id {page.messages[0].id}" if page.messages else ", no message is there yet"
    findings.append(Finding(_SUBJECT, "login", True, f"{client.where} accepts the token{newest}"))
    async with client.stream():
        findings.append(Finding(_SUBJECT, "stream", True, "messages are told as they come"))
    findings.append(_applications(own.apps, await client.apps()))


def _applications(globs: tuple[str, ...], names: dict[int, str] | None) -> Finding:
    if names is None:
        cure = "Write numbers into GOTIFY_IN_APPS, or leave it empty." if globs else ""
        numeric = all(glob.isdigit() for glob in globs)
        return Finding(_SUBJECT, "applications", None if numeric else False, "their names are not told", cure)
    listed = ", ".join(f"{name} ({number})" for number, name in names.items()) or "none"
    if not globs:
        return Finding(_SUBJECT, "applications", None, f"there are {listed}: what Proxmox writes is taken from each")
    missing = [
        glob
        for glob in globs
        if not any(fnmatchcase(each.casefold(), glob.casefold()) for pair in names.items() for each in map(str, pair))
    ]
    if missing:
        cure = "Correct GOTIFY_IN_APPS."
        return Finding(
            _SUBJECT, "applications", False, f"none is called {', '.join(missing)}; there are {listed}", cure
        )
    return Finding(_SUBJECT, "applications", True, f"GOTIFY_IN_APPS fits; there are {listed}")


def _encryption(own: GotifyInSettings) -> list[Finding]:
    parts = urlsplit(own.server_url)
    if parts.scheme == "http" and parts.hostname and not is_loopback(parts.hostname):
        cure = "Use an https address in GOTIFY_IN_SERVER_URL if the server has one."
        return [Finding(_SUBJECT, "encryption", None, "the token crosses the network unencrypted", cure)]
    return []
