"""The notifiers, without sending anything: is the service there, does it know us, as far as it can be asked.

Gotify's and ntfy's right to send shows only in sending: `--send-test`. What is asked here is what each service's
documentation offers for it: Discord's Get Webhook with Token, Gotify's /health, ntfy's /v1/health.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from urllib.parse import urlsplit

from mqtt_bridge.notifiers import discord, gotify, ntfy, webhook
from mqtt_bridge.notifiers.apprise import understood
from mqtt_bridge.notifiers.http import Http, Service, object_of
from mqtt_bridge.notifiers.notice import LaterError, RefusedError
from mqtt_bridge.settings import Settings, is_loopback
from mqtt_bridge.settings.notifying import OutSettings
from mqtt_bridge.wording.clean import one_line
from proxmox_mcp.check.findings import Finding

Look = Callable[[OutSettings, float], Awaitable[tuple[str, str]]]
NOT_SENT = Finding(
    "notifiers", "test", None, "nothing was sent", "`proxmox-mcp check --send-test` sends one through each."
)
_EXTRA = 'pip install "proxmox-mcp[apprise]"'


async def check_notifiers(settings: Settings, limit: float) -> list[Finding]:
    """[] when none is enabled. Nothing is sent."""
    names = [name for name in _LOOKS if name in settings.notify.enabled]
    if not names:
        return []
    found = await asyncio.gather(*(_look(name, settings.out, limit) for name in names))
    clear = [finding for name in names for finding in _encryption(name, settings.out)]
    return [*found, *clear, NOT_SENT]


async def _look(name: str, out: OutSettings, limit: float) -> Finding:
    subject = f"notifier {name}"
    try:
        async with asyncio.timeout(limit):
            what, detail = await _LOOKS[name](out, limit)
    except (LaterError, RefusedError) as error:
        return Finding(subject, "reach", False, error.message, error.cure)
    except TimeoutError:
        return Finding(subject, "reach", False, f"no answer within {limit:g} seconds", "It is overloaded or hangs.")
    return Finding(subject, what, True, detail)


async def _discord(out: OutSettings, _: float) -> tuple[str, str]:
    url = (out.discord.webhook_url.reveal() if out.discord.webhook_url else "").strip().partition("?")[0]
    token = url.rstrip("/").rpartition("/")[2]
    async with Http(discord.SERVICE, secrets=(url, token)) as http:
        reply = await http.ask("GET", url, b"")
        name = http.taken(reply).get("name")
        if "channel_id" not in object_of(reply):
            raise http.foreign()
    return "webhook", f"Discord has it, it is called {one_line(str(name), 80)!r}"


async def _healthy(service: Service, url: str, key: str, *, verify: bool) -> None:
    """Raises RefusedError where something else answers."""
    async with Http(service, verify=verify) as http:
        reply = await http.ask("GET", url, b"")
        if key not in http.taken(reply):
            raise http.foreign()


async def _gotify(out: OutSettings, _: float) -> tuple[str, str]:
    url = f"{out.gotify.server_url.strip().rstrip('/')}/health"
    await _healthy(gotify.SERVICE, url, "health", verify=out.gotify.verify)
    return "reach", "Gotify answers; whether it takes the token shows only in sending"


async def _ntfy(out: OutSettings, _: float) -> tuple[str, str]:
    url = f"{out.ntfy.server_url.strip().rstrip('/')}/v1/health"
    await _healthy(ntfy.SERVICE, url, "healthy", verify=out.ntfy.verify)
    return "reach", "ntfy answers; whether the topic takes what we send shows only in sending"


async def _webhook(out: OutSettings, _: float) -> tuple[str, str]:
    """OPTIONS changes nothing by definition; any answer shows that somebody is there, and its certificate is good."""
    own = out.webhook
    url = own.url.reveal().strip() if own.url else ""
    async with Http(webhook.SERVICE, secrets=(url,), verify=own.verify, ca_file=own.ca_file) as http:
        await http.ask("OPTIONS", url, b"")
    signed = "signed" if own.secret else "not signed (WEBHOOK_OUT_SECRET is not set)"
    return "reach", f"the receiver answers; what it gets is {signed}"


async def _email(out: OutSettings, limit: float) -> tuple[str, str]:
    from mqtt_bridge.notifiers.smtp_line import Line  # noqa: PLC0415 -- brings aiosmtplib
    from mqtt_bridge.notifiers.smtp_words import Words  # noqa: PLC0415

    own = out.email
    async with Line(own, Words(own), limit, limit).connected() as client:
        await client.noop()
    who = f"{own.username} is let in to" if own.username else "no login is configured at"
    secured = {"tls": "over TLS", "starttls": "over STARTTLS", "none": "unencrypted"}[own.security]
    return "login", f"{who} {own.server}:{own.port}, {secured}"


async def _apprise(out: OutSettings, _: float) -> tuple[str, str]:
    if find_spec("apprise") is None:
        raise RefusedError("Apprise is not installed", cure=f"{_EXTRA}, or take APPRISE out.")
    services = await asyncio.to_thread(understood, out.apprise)
    if wrong := [name for name, service in services.items() if not service]:
        cure = "Correct it in APPRISE_URLS: https://github.com/caronc/apprise/wiki"
        raise RefusedError(f"Apprise does not understand {', '.join(wrong)}", cure=cure)
    told = ", ".join(f"{name}: {service}" for name, service in services.items())
    return "URLs", f"Apprise understands them: {told}"


_LOOKS: dict[str, Look] = {
    "DISCORD_OUT": _discord,
    "GOTIFY_OUT": _gotify,
    "NTFY": _ntfy,
    "EMAIL": _email,
    "WEBHOOK": _webhook,
    "APPRISE": _apprise,
}


def _encryption(name: str, out: OutSettings) -> list[Finding]:
    """What crosses a network in the clear."""
    urls = {
        "GOTIFY_OUT": ("GOTIFY_OUT_SERVER_URL", out.gotify.server_url),
        "NTFY": ("NTFY_SERVER_URL", out.ntfy.server_url),
        "WEBHOOK": ("WEBHOOK_OUT_URL", out.webhook.url.reveal() if out.webhook.url else ""),
    }
    subject = f"notifier {name}"
    if name == "EMAIL" and out.email.security == "none" and out.email.password and not is_loopback(out.email.server):
        cure = "Set NOTIFY_EMAIL_SECURITY to starttls or tls."
        return [Finding(subject, "encryption", None, "the password crosses the network unencrypted", cure)]
    key, url = urls.get(name, ("", ""))
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname and not is_loopback(parts.hostname):
        cure = f"Use an https address in {key} if the service has one."
        return [Finding(subject, "encryption", None, "what is told crosses the network unencrypted", cure)]
    return []
