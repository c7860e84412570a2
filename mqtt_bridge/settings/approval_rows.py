"""The rows of approvals, and how APPROVERS is read: what fills `approving`.

APPROVERS=alice:sha256:<64 hex digits>;email=alice@example.org;discord=80351110224678912, bob:sha256:<…>
"""

import re
from typing import Any, cast

import voluptuous as vol

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.approving import ApprovalSettings, Approver, WayName
from mqtt_bridge.settings.plugins import fields
from mqtt_bridge.settings.row import Row
from mqtt_bridge.settings.sources import Report, Sources

MAX_APPROVERS = 50
NAME = r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}"
_ENTRY = re.compile(rf"(?P<name>{NAME})\s*:\s*sha256\s*:\s*(?P<key>[0-9A-Fa-f]{{64}})")
_DISCORD = re.compile(r"\d{15,20}")
_WAYS: dict[str, tuple[str, str]] = {  # option → what its value looks like, how to say so
    "email": (r"[^\s@;,]+@[^\s@;,]+", "a mail address"),
    "ntfy": (r"[A-Za-z0-9_-]{1,64}", "a topic of letters, digits, _ and -"),
    "gotify": (r"[A-Za-z0-9._-]{5,100}", "the token of a Gotify application"),
    "apprise": (r"[a-z][a-z0-9+.-]*://[^\s,;]{1,2000}", "an Apprise URL, with , and ; as %2C and %3B"),
}
_HINT = "write name:sha256:<64 hex digits>, as `proxmox-mcp approvals add-approver NAME` prints it"


def _approvers(text: str) -> tuple[Approver, ...]:
    lines = (line for line in text.splitlines() if not line.strip().startswith("#"))
    entries = [part.strip() for line in lines for part in line.split(",") if part.strip()]
    if len(entries) > MAX_APPROVERS:
        raise vol.Invalid(f"names more than {MAX_APPROVERS} people")
    found = tuple(_approver(entry, position) for position, entry in enumerate(entries, start=1))
    for what, values in (
        ("name", [one.name.casefold() for one in found]),
        ("secret", [one.key for one in found]),
        ("Discord user", [one.discord for one in found if one.discord]),
    ):
        if len(set(values)) != len(values):
            raise vol.Invalid(f"gives two people the same {what}: each needs one of their own")
    return found


def _approver(entry: str, position: int) -> Approver:
    head, *options = (part.strip() for part in entry.split(";"))
    read = _ENTRY.fullmatch(head)
    if read is None:
        raise vol.Invalid(f"entry {position} is no approver: {_HINT}")
    discord, ways = None, []
    for option in filter(None, options):
        name, _, value = (part.strip() for part in option.partition("="))
        if name == "discord" and _DISCORD.fullmatch(value):
            discord = int(value)
        elif name in _WAYS and re.fullmatch(_WAYS[name][0], value):
            ways.append((cast("WayName", name), Secret(value)))
        else:
            raise vol.Invalid(f"entry {position}: {_wrong(name)}")
    return Approver(read["name"], Secret(read["key"].lower()), discord, tuple(ways))


def _wrong(name: str) -> str:
    if name == "discord":
        return "discord= takes a user's id (15 to 20 digits; in Discord, Developer Mode, Copy User ID)"
    if name in _WAYS:
        return f"{name}= takes {_WAYS[name][1]}"
    return f"after a ; there is discord= or {', '.join(f'{way}=' for way in _WAYS)}"


APPROVAL_ROWS: tuple[Row, ...] = (
    Row(
        "APPROVAL_TIMEOUT",
        "approval",
        "How long a request waits for a decision, and an approval to be used.",
        v.duration(30, 86400),
        "15m",
        into="approval.timeout",
    ),
    Row(
        "APPROVERS",
        "approval",
        "Who may approve: name:sha256:hash, made by `proxmox-mcp approvals add-approver NAME`; then, each after a ;, "
        "where that person's one-time codes go (email=, ntfy=, gotify=, apprise=) and whose Discord buttons count "
        "(discord=user id).",
        v.Shape("list of approvers, comma separated, or in a file one a line", _approvers),
        secret=True,
        unset="nobody: what needs an approval cannot be done",
    ),
    Row(
        "APPROVAL_MQTT",
        "approval",
        "Decisions over MQTT: proof takes those with an HMAC or a one-time code; broker those whose user the broker's "
        "ACL binds to the topic.",
        v.choice("off", "proof", "broker"),
        "off",
        into="approval.mqtt",
    ),
    Row(
        "APPROVAL_ELICITATION",
        "approval",
        "Where the word of whoever sits at the MCP client is an approval: nowhere, over stdio, or over HTTP too.",
        v.choice("off", "stdio", "all"),
        "stdio",
        into="approval.elicitation",
    ),
)
_ROWS = {row.key: row for row in APPROVAL_ROWS}


def approving(sources: Sources) -> ApprovalSettings:
    """The section of Settings."""
    chosen: dict[str, Any] = fields(sources, APPROVAL_ROWS, "approval.")
    return ApprovalSettings(approvers=sources.value(_ROWS["APPROVERS"]) or (), **chosen)


def approvals(sources: Sources, report: Report) -> None:
    """What the settings of approvals demand of one another."""
    settings = approving(sources)
    ways = {name for one in settings.approvers for name, _ in one.ways}
    for way, key in (("email", "NOTIFY_EMAIL_SERVER"), ("gotify", "GOTIFY_OUT_SERVER_URL")):
        if way in ways and not sources.has(key):
            report.problem(key, f"is missing, and APPROVERS sends one-time codes by {way}: write it, or take that out.")
    if settings.mqtt != "off" and not settings.approvers and "APPROVERS" not in sources.invalid:
        report.warning(
            f"APPROVAL_MQTT={settings.mqtt}: APPROVERS is not set, so nobody can approve anything over MQTT."
        )
    if settings.mqtt == "broker":
        _bound(sources, report, settings)


def _bound(sources: Sources, report: Report, settings: ApprovalSettings) -> None:
    """A user that is shared, or has no name, is nobody whom the broker could vouch for."""
    user = sources.given["MQTT_USERNAME"].text if sources.has("MQTT_USERNAME") else ""
    if sources.has("MQTT_HOST") and not user:
        report.problem(
            "MQTT_USERNAME",
            "is missing: APPROVAL_MQTT=broker needs a broker that tells its users apart, and one of our own there.",
        )
    elif user and settings.approver(user):
        report.problem(
            "MQTT_USERNAME",
            "is an approver's name: with APPROVAL_MQTT=broker whoever has our password could approve. Give each a user "
            "of their own.",
        )
