"""What is pushed over HTTP: Gotify messages, webhook bodies of any shape, Discord messages, plain text (ntfy)."""

import re
from collections.abc import Iterable, Mapping
from html import unescape
from typing import Any

from mqtt_bridge.wording import notification
from mqtt_bridge.wording.charset import as_text
from mqtt_bridge.wording.html_text import looks_like_html, text_of, without_tags
from mqtt_bridge.wording.loose_json import members, nested, parsed, too_deep
from mqtt_bridge.wording.notice import Notice, moment, short_name
from mqtt_bridge.wording.proxmox_rules import TYPES
from mqtt_bridge.wording.verdict import Verdict

LIMIT = 2 * 1024 * 1024
_TITLE_KEYS = (
    "title",
    "subject",
    "headline",
    "activitytitle",
    "alertname",
    "themetitle",
    "topic_title",
    "messagetitle",
    "msgtitle",
    "notification_title",
    "header",
)
_TEXT_KEYS = (
    "message", "text", "content", "body", "description", "msg", "summary", "value", "formatted_body", "html",
    "plain", "plaintext", "fallback", "caption", "output", "details", "markdown", "data", "payload", "error",
    "messagecontent", "messagebody", "message_text", "note",
)  # fmt: skip
_HOST_KEYS = ("hostname", "node", "nodename", "fqdn", "host", "server", "machine", "instance", "source")
_SEVERITY_KEYS = ("severity", "level", "urgency", "status", "state", "severity_text")
_TIME_KEYS = ("timestamp", "time", "date", "ts", "startsat", "clock", "created_at")
_WORDS = frozenset({"proxmox", "pve", "pbs"})
_PRIORITIES = {1: "info", 5: "warning", 9: "error", 10: "error"}  # proxmox-notify, endpoints/gotify.rs
_HIGH = 8
_MARKDOWN_ESCAPE = re.compile(r"\\([_*\[\]()~`>#+\-=|{}.!])")
_FENCE = re.compile(r"^[ \t]*```[\w-]{0,20}[ \t]?", re.MULTILINE)


def read_push(raw: str | bytes, now: float | None = None) -> Verdict:  # noqa: ARG001 -- bodies tell their year
    """The verdict on a Gotify message, a webhook's body or a Discord message."""
    text = as_text(raw[:LIMIT])
    truncated = len(raw) > LIMIT or (text.lstrip()[:1] in ("{", "[") and too_deep(text))
    data = parsed(text)
    return notification.read(_plain(text, truncated=truncated) if data is None else _read(data, truncated=truncated))


def _plain(text: str, *, truncated: bool) -> Notice:
    inner = nested(text)
    return Notice(text=readable(inner if isinstance(inner, str) else text), truncated=truncated)


def _unwrapped(data: Any) -> Any:
    """The body of a request that an automation hands on whole, with the headers of its own server (n8n, Pipedream)."""
    request = data[0] if isinstance(data, list) and len(data) == 1 else data
    whole = isinstance(request, dict) and isinstance(request.get("headers"), dict) and request.get("body")
    return request["body"] if whole else data


def _read(data: Any, *, truncated: bool) -> Notice:
    data = _unwrapped(data)
    every = [(key, value) for key, value in members(data) if value not in (None, "")]
    facts: dict[str, str] = {}
    for key, value in every:
        facts.setdefault(key, str(value).strip()[:2000])
    texts = dict.fromkeys(readable(value) for key, value in every if key in _TEXT_KEYS and isinstance(value, str))
    titles = [value for key in _TITLE_KEYS for name, value in every if name == key and isinstance(value, str)]
    text = "\n".join(part for part in texts if part.strip())
    return Notice(
        title=readable(titles[0]) if titles else "",
        text=text or "\n".join(f"{key}: {value}" for key, value in list(facts.items())[:100]),
        severity=_severity(facts),
        type=next((kind for kind in _values(every, ("type", "event", "notification-type")) if _is_type(kind)), None),
        host=_host(every),
        at=next((at for key in _TIME_KEYS if (at := moment(facts.get(key)))), None),
        facts=facts,
        truncated=truncated,
    )


def readable(text: str) -> str:
    """Without fences, a chat's escapes and tags: what the sender's `message` was."""
    text = text.replace("\r\n", "\n")
    if re.search(r"<(?:html|body|table|tr|td)\b", text[:20_000], re.IGNORECASE):
        text = text_of(text)
    elif looks_like_html(text):
        text = without_tags(text)
    elif "&#" in text or "&quot;" in text or "&lt;" in text or "&amp;" in text:
        text = unescape(text)
    if re.search(r"\\[.()\-!]", text[:20_000]):
        text = _MARKDOWN_ESCAPE.sub(r"\1", text)
    text = _FENCE.sub("", text) if "```" in text else text
    if "\n" not in text and text.count("\\n") > 1:
        text = text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
    return text


def _is_type(value: str) -> bool:
    return value in TYPES or value == "system-mail"


def _values(every: Iterable[tuple[str, Any]], keys: tuple[str, ...]) -> Iterable[str]:
    return (str(value).strip() for key in keys for name, value in every if name == key)


def _host(every: list[tuple[str, Any]]) -> str | None:
    """The first that can be a host; what is often a product's name only under a key that means a host."""
    for key in _HOST_KEYS:
        for value in _values(every, (key,)):
            name = short_name(re.sub(r":\d{1,5}$", "", value))
            if name and (key in ("hostname", "node", "nodename", "fqdn") or name.lower() not in _WORDS):
                return name
    return None


def _severity(facts: Mapping[str, str]) -> str | None:
    for key in _SEVERITY_KEYS:
        word = facts.get(key, "").lower()
        if word and word != "unknown" and word.isalpha():
            return word
    priority = facts.get("priority", "")
    if not re.fullmatch(r"\d{1,2}", priority):
        return _word(priority)
    ours = "contenttype" in facts  # any app sends 5, which is what many take by default
    return _PRIORITIES.get(int(priority)) if ours or int(priority) > _HIGH else None


def _word(priority: str) -> str | None:
    return priority.lower() if priority.isalpha() else None
