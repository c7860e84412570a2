"""Telling people: through the notifiers of whatever bridge is online, with what each service really answered."""

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from mqtt_bridge.audit.trail import Audit, AuditError
from mqtt_bridge.errors import BridgeError, UnknownTargetError, UnreachableError
from mqtt_bridge.model import BridgeInfo, ChannelOutcome, Model, NotifyRequest, NotifyResult, Severity
from proxmox_mcp.mirror import Mirror
from proxmox_mcp.tools.base import Arguments, Call, SiteArgument, Tool
from proxmox_mcp.view import Answer

SHOWN = 200  # characters of a text in the audit file
FILL = 5.0  # seconds that the first fill of the mirror is waited for
_log = logging.getLogger(__name__)
_ENABLE = "Enable one where the bridge is configured (ENABLED_NOTIFIERS; docs/notifiers.md), and restart it."
_NOBODY = "Start `proxmox-mcp serve` or `mqtt-bridge` with a notifier enabled, or check MQTT_HOST."


class Message(Arguments):
    """What to tell whom."""

    message: str = Field(min_length=1, max_length=4000, description="plain text")
    title: str = Field(default="", max_length=200, description="one line above it")
    severity: Severity = Field(default="info", description="how loud it is")
    channels: tuple[str, ...] | None = Field(
        default=None, max_length=20, description="only these notifiers, e.g. DISCORD_OUT, NTFY; null: all that run"
    )
    site: SiteArgument = None


class Channel(Model):
    """What became of it at one notifier."""

    channel: str
    bridge: str = Field(description="the process that runs it")
    status: Literal["delivered", "waiting", "refused", "unknown"] = Field(
        description="waiting: it is kept and tried again; unknown: its process did not answer"
    )
    detail: str = Field(default="", description="what the service answered, or why not")


class Told(Answer):
    """What became of it. `ok` only if every channel took it."""

    ok: bool
    channels: tuple[Channel, ...]

    @property
    def is_failure(self) -> bool:
        return not any(one.status in {"delivered", "waiting"} for one in self.channels)

    def text(self) -> str:
        head = "Told through every channel." if self.ok else "Not told through every channel."
        rows = (f"{one.channel}: {one.status}{f' ({one.detail})' if one.detail else ''}" for one in self.channels)
        return "\n".join([head, *rows, *self.notes])


@dataclass(frozen=True)
class _Way:
    """A site whose topic leads to these processes."""

    site: str
    infos: Mapping[str, BridgeInfo]

    @property
    def names(self) -> list[str]:
        """The notifiers that run there, each once."""
        return list(dict.fromkeys(name for info in self.infos.values() for name in info.notifiers))


async def send_notification(call: Call, args: Message) -> Told:
    """Tell it, and wait for what the services answer."""
    mirror = await _mirror(call)
    way = _way(call, mirror, args.site)
    channels = _channels(way, args.channels)
    request = NotifyRequest(
        id=secrets.token_urlsafe(16),
        title=args.title,
        message=args.message,
        severity=args.severity,
        channels=tuple(channels),
        sender=f"MCP ({call.principal.name})",
    )
    asked = {name: info for name, info in way.infos.items() if set(channels) & set(info.notifiers)}
    audit, record = Audit(call.services.settings.general.state_dir), _record(call, way.site, request)
    await audit.write("notify.intent", **record)
    answers = await mirror.telling.ask(mirror.bus, way.site, request, asked)
    rows = [row for name, info in asked.items() for row in _rows(name, info, answers.get(name), channels)]
    await _outcome(audit, record, rows)
    return Told(ok=all(row.status == "delivered" for row in rows), age_s=0, channels=tuple(rows))


def _record(call: Call, site: str, request: NotifyRequest) -> dict[str, object]:
    """What the audit file says of it here; the process that tells it writes a record of its own under the same id."""
    return {
        "id": request.id,
        "principal": call.principal.name,
        "channel": call.principal.channel,
        "level": call.principal.level,
        "site": site,
        "channels": request.channels,
        "severity": request.severity,
        "title": request.title,
        "text": request.message[:SHOWN],
    }


async def _outcome(audit: Audit, record: Mapping[str, object], rows: Sequence[Channel]) -> None:
    try:
        outcomes = {f"{row.channel} at {row.bridge}": row.status for row in rows}
        await audit.write("notify.outcome", **record, outcomes=outcomes)
    except AuditError as error:
        _log.error("Told, but without its outcome in the audit file: %s", error)


async def _mirror(call: Call) -> Mirror:
    """The broker's; a private poller tells nobody anything."""
    mirror = call.services.state.primary
    if mirror is None:
        raise UnreachableError("There is no MQTT broker and no bridge, so nobody was told.", cure=_NOBODY)
    if not mirror.filled.is_set():
        await asyncio.wait([filled := asyncio.ensure_future(mirror.filled.wait())], timeout=FILL)
        filled.cancel()
    if not mirror.connected:
        raise UnreachableError(f"Nobody was told: {mirror.trouble}", cure=_NOBODY)
    return mirror


def _way(call: Call, mirror: Mirror, site: str | None) -> _Way:
    """The site that is asked for, else the first with a notifier. Raises BridgeError where there is none."""
    store = mirror.store
    online = {name for name, state in store.items("", "bridge_state") if state == "online"}
    told = {name: i for name, i in store.items("", "bridge_info") if name in online and isinstance(i, BridgeInfo)}
    if not online:
        raise UnreachableError("No bridge is online, so nobody was told.", cure=_NOBODY)
    sites = sorted({*store.sites(), *(one.slug for one in call.services.settings.sites)})
    if site is not None and site not in sites:
        raise UnknownTargetError(f"There is no site {site!r}.", cure=f"Sites: {', '.join(sites)}.")
    for slug in [site] if site else sites:
        speaks = {name: i for name, i in told.items() if i.notifiers and (slug in i.sites or not i.sites)}
        if speaks:
            return _Way(slug, speaks)
    raise BridgeError("No notifier is enabled, so nobody was told.", cure=_ENABLE)


def _channels(way: _Way, wanted: Sequence[str] | None) -> list[str]:
    running = {name.casefold(): name for name in way.names}
    if wanted is None:
        return way.names
    unknown = [name for name in wanted if name.casefold() not in running]
    if unknown or not wanted:
        named = f"no notifier {unknown[0]!r} that runs" if unknown else "no channel in `channels`"
        raise UnknownTargetError(f"There is {named}, so nobody was told.", cure=f"These run: {', '.join(way.names)}.")
    return list(dict.fromkeys(running[name.casefold()] for name in wanted))


def _rows(bridge: str, info: BridgeInfo, result: NotifyResult | None, channels: Sequence[str]) -> list[Channel]:
    """Of one process; what it does not run is another's to tell."""
    mine = [name for name in channels if name in info.notifiers]
    if result is None:
        why = "its process did not answer: whether it is told is not known"
        return [Channel(channel=name, bridge=bridge, status="unknown", detail=why) for name in mine]
    lost = ChannelOutcome(status="refused", detail=result.error or "it is not enabled there any more")
    found = {name: result.channels.get(name, lost) for name in mine}
    return [Channel(channel=n, bridge=bridge, status=one.status, detail=one.detail) for n, one in found.items()]


TOOLS = (
    Tool(
        "send_notification",
        "Send a notification",
        "Tell people something through the notifiers that the bridge runs (Discord, Gotify, ntfy, mail, webhook, "
        "Apprise), and report what each service answered: delivered, waiting (it is tried again), refused with the "
        "reason. It goes out at once, whatever their filters and quiet hours say.",
        "notify",
        Message,
        Told,
        send_notification,
        risk="operate",
        destructive=False,
        idempotent=False,
    ),
)
