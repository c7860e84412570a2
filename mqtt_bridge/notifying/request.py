"""What comes in on `proxmox/<site>/notify`, checked: anyone on the broker may have written it."""

import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.history_request import moment
from mqtt_bridge.model import Severity

LARGEST = 16 * 1024  # bytes
TITLE, MESSAGE = 200, 4000  # characters
FRESH = 60.0  # seconds between a request's `ts` and our clock
ID = r"^[A-Za-z0-9_-]{1,64}$"
UNTITLED = "Message"

Identity = Annotated[str, Field(pattern=ID)]


class NotifyRequestError(BridgeError):
    """It is not told; the message names the field. `identity`: of the request, where that could be read."""

    def __init__(self, message: str, identity: str | None = None) -> None:
        super().__init__(message)
        self.identity = identity


class Asked(BaseModel):
    """A request as it comes in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(max_length=TITLE)] = ""
    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MESSAGE)]
    severity: Severity = "info"
    channels: Annotated[tuple[Annotated[str, Field(max_length=40)], ...], Field(max_length=20)] | None = None
    id: Identity | None = None
    ts: Annotated[str, Field(max_length=40)] | None = None
    sender: Annotated[str, Field(max_length=100)] | None = None


def read_request(payload: bytes, now: float | None = None) -> Asked:
    """Raises NotifyRequestError. What begins like a JSON object is one; all else is the message itself."""
    if len(payload) > LARGEST:
        raise NotifyRequestError(f"The request is larger than {LARGEST} bytes.")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise NotifyRequestError("The request is not UTF-8.") from None
    asked = _object(text) if text.lstrip().startswith("{") else _checked({"message": text})
    if asked.ts is not None:
        _fresh(asked, time.time() if now is None else now)
    return asked


def _object(text: str) -> Asked:
    try:
        raw = from_json(text)
    except ValueError:
        raise NotifyRequestError("The request begins with { and is no JSON object.") from None
    return _checked(raw)


def _checked(raw: object) -> Asked:
    try:
        return Asked.model_validate(raw)
    except ValidationError as error:
        raise NotifyRequestError(_first(error), _identity(raw)) from None


def _fresh(asked: Asked, now: float) -> None:
    try:
        age = now - moment(asked.ts or "", now)
    except ValueError:
        raise NotifyRequestError("ts: give a time like 2026-11-20T03:00:00Z.", asked.id) from None
    if abs(age) > FRESH:
        raise NotifyRequestError(
            f"ts: it was sent {age:.0f} s ago by our clock, and is told within {FRESH:.0f} s only.", asked.id
        )


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ascii(".".join(str(part) for part in problem["loc"])[:64])[1:-1]
    if problem["type"] == "extra_forbidden":
        return f"{field}: no such field; there are {', '.join(Asked.model_fields)}."
    return f"{field or 'request'}: {problem['msg']}."


def _identity(raw: object) -> str | None:
    """Whoever sent a request that is wrong elsewhere waits for an answer that has its id."""
    try:
        return Asked.model_validate({"message": "x", "id": raw.get("id") if isinstance(raw, dict) else None}).id
    except ValidationError:
        return None
