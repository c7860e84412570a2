"""What comes in on a command topic, checked: anyone who may write there may have written it."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import voluptuous as vol
from pydantic_core import from_json

from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.model import utc

LARGEST = 16 * 1024  # bytes
FRESH = 60.0  # seconds between `ts` and our clock, in both directions
TIMEOUT, LONGEST = 120.0, 3600.0  # seconds that a task is followed
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_APPROVAL = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?")
_MILLISECONDS = 1e11  # as seconds, the year 5138


@dataclass(frozen=True)
class Asked:
    """A command as it came in. Without an `id` it was a bare word. `reason` and `who` are claims, and no proof."""

    command: str
    id: str | None = None
    ts: float = 0.0
    force: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    who: str = ""
    wait: bool = True
    timeout: float = TIMEOUT
    dry_run: bool = False
    approval: str | None = None
    progress: bool = False

    @property
    def bare(self) -> bool:
        """A word alone: it has no id, so it could be an old one that is sent again."""
        return self.id is None


def read(payload: bytes, now: float) -> Asked:
    """Raises CommandError. `now`: Unix seconds, when it arrived."""
    if len(payload) > LARGEST:
        raise CommandError(f"The command is larger than {LARGEST} bytes.", "too_large")
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        raise CommandError("The command is not UTF-8.", "not_json") from None
    if _WORD.fullmatch(text):
        return Asked(text)
    raw = _object(text)
    identity = raw.get("id")
    try:
        asked = Asked(**_SCHEMA(raw))
        _fresh(asked.ts, now)
    except vol.Invalid as error:
        known = identity if isinstance(identity, str) and _ID.fullmatch(identity) else None
        raise CommandError(*_first(error), identity=known) from None
    return asked


def _object(text: str) -> dict[str, Any]:
    try:
        raw = from_json(text, allow_inf_nan=False)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise CommandError(
            "The command is neither a word nor a JSON object.",
            "not_json",
            cure='Send for example {"command": "start", "id": "a-new-one", "ts": 1795255200}, or the word start alone.',
        )
    return raw


class _StaleError(vol.Invalid):
    """The times do not fit."""


def _fresh(ts: float, now: float) -> None:
    if abs(now - ts) > FRESH:
        off = f"{now - ts:.0f} s before" if ts < now else f"{ts - now:.0f} s after"
        raise _StaleError(
            f"it says {utc(ts)}, which is {off} our clock ({utc(now)}), and {FRESH:.0f} s are allowed: "
            "send it anew, or set both clocks (NTP)",
            path=["ts"],
        )


def _first(error: vol.Invalid) -> tuple[str, Any]:
    first = error.errors[0] if isinstance(error, vol.MultipleInvalid) else error
    name = ascii(".".join(str(part) for part in first.path)[:64])[1:-1]
    if first.error_message == "extra keys not allowed":
        return f"{name}: no such field; there are {', '.join(str(key) for key in _SCHEMA.schema)}.", "wrong"
    if first.error_message == "required key not provided":
        return f"{name}: missing; a JSON command needs command, id (a new one each time) and ts.", "wrong"
    return f"{name}: {first.error_message}.", "stale" if isinstance(first, _StaleError) else "wrong"


# --- fields ----------------------------------------------------------------------------------------------------------


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise vol.Invalid(what)
        return value

    return check


def _text(longest: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise vol.Invalid(f"it must be text of at most {longest} characters")
        return value

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise vol.Invalid("it must be true or false")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LONGEST:
        raise vol.Invalid(f"it must be a number of seconds from 1 to {LONGEST:.0f}")
    return float(value)


def _args(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise vol.Invalid("it must be an object with the action's arguments")
    return value


def moment(value: Any) -> float:
    """Unix seconds of a number or of ISO 8601; raises vol.Invalid. Without a zone it is UTC."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
            value = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 1:
        raise vol.Invalid("give a time like 2026-11-20T03:00:00Z, or Unix seconds")
    if value > _MILLISECONDS:
        raise vol.Invalid("that is too large for Unix seconds: divide milliseconds by 1000")
    return float(value)


_SCHEMA = vol.Schema(
    {
        vol.Required("command"): _matching(_WORD, "it must be a word like start"),
        vol.Required("id"): _matching(_ID, "it must be 1 to 64 letters, digits, - and _"),
        vol.Required("ts"): moment,
        "force": _flag,
        "args": _args,
        "reason": _text(200),
        "who": _text(100),
        "wait": _flag,
        "timeout": _seconds,
        "dry_run": _flag,
        "approval": _matching(_APPROVAL, "it must be the id of an approval"),
        "progress": _flag,
    }
)
