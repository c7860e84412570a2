"""What a Gotify server says, as far as those who post to it look at it."""

import hashlib
import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

VERSION = {"version": "2.6.0", "commit": "proxmox-mcp", "buildDate": ""}
APP_ID = 1
_FORM = "application/x-www-form-urlencoded"
_MAX_DEPTH = 20


def failure(status: int, sentence: str) -> dict[str, Any]:
    """Gotify's body of an error."""
    return {"error": HTTPStatus(status).phrase, "errorCode": status, "errorDescription": sentence}


def message_of(body: bytes, content_type: str) -> dict[str, Any] | None:
    """What was posted to /message: JSON, whatever its type says, or a form; None where there is no text in it."""
    try:
        found = dict(parse_qsl(body.decode(), max_num_fields=50)) if content_type == _FORM else json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(text := found.get("message"), str) or not text.strip():
        return None
    message = {key: found[key] for key in ("title", "message", "priority") if key in found}
    if isinstance(extras := found.get("extras"), dict) and _shallow(extras):
        message["extras"] = extras
    return message


def created(message: dict[str, Any], identity: str, now: float) -> dict[str, Any]:
    """The answer to a message that was taken; what is posted again gets the same id."""
    number = int(hashlib.sha256(identity.encode()).hexdigest()[:12], 16)
    date = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    title = message.get("title")
    given = {
        "title": title if isinstance(title, str) and title.strip() else "Proxmox",
        "priority": _integer(message.get("priority")),
    }
    return {"id": number, "appid": APP_ID, **message, **given, "date": date}


def _integer(value: Any) -> int:
    try:
        return max(-100, min(int(value), 100))
    except (TypeError, ValueError, OverflowError):
        return 0


def _shallow(value: Any, depth: int = 0) -> bool:
    """Whether it can be written as JSON again: what nests deeper than anyone needs could not."""
    if depth > _MAX_DEPTH:
        return False
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_shallow(each, depth + 1) for each in inside)
