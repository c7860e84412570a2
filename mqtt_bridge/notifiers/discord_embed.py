"""A notice as an embed of Discord.

Limits: https://discord.com/developers/docs/resources/message#embed-object-embed-limits; the API counts code points.
"""

from typing import Any

from mqtt_bridge.notifiers import markdown, parts
from mqtt_bridge.notifiers.fitting import begin, end, utf16
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifiers.render import look
from mqtt_bridge.wording.clean import one_line

TITLE, DESCRIPTION, FIELD_NAME, FIELD_VALUE = 256, 4096, 256, 1024  # Discord's limits
_TEXT, _FIELDS = 2000, 1500  # ours: the log keeps room, and all together stays below 6 000, Discord's too


def payload(notice: Notice) -> dict[str, Any]:
    """One embed within Discord's limits that mentions nobody."""
    embed: dict[str, Any] = {
        "title": begin(markdown.escape(parts.title(notice)), TITLE),
        "color": int(look(notice).colour[1:], 16),
        "fields": _fields(notice),
        "footer": {"text": " · ".join(filter(None, (one_line(notice.site, 60), look(notice).word)))},
    }
    if description := _description(notice):
        embed["description"] = description
    if url := parts.link(notice):
        embed["url"] = url
    if at := parts.moment(notice):
        embed["timestamp"] = at.isoformat(timespec="milliseconds")
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _fields(notice: Notice) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for label, value in parts.facts(notice):
        name = begin(markdown.escape(label), FIELD_NAME)
        shown = begin(markdown.escape(value), FIELD_VALUE)
        found.append({"name": name, "value": shown, "inline": True})
    while sum(map(_size, found)) > _FIELDS:
        found.pop()
    return found


def _size(field: dict[str, Any]) -> int:
    return utf16(field["name"]) + utf16(field["value"])


def _description(notice: Notice) -> str:
    told = begin(markdown.escape(parts.told(notice)), _TEXT)
    log = markdown.unfenceable(parts.log(notice))
    room = DESCRIPTION - utf16(told) - markdown.FENCE_SIZE - 1
    return "\n".join(filter(None, (told, markdown.fenced(end(log, room)) if log else "")))
