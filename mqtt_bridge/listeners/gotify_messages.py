"""A Gotify message: what it says, which are Proxmox's, and how far the list was read."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from mqtt_bridge.events.intake import Report
from mqtt_bridge.wording import Verdict, classify

SLACK = 2.0  # seconds that a database may take from a message's date
_AMBIGUOUS = frozenset({"system.mail", "notification.test"})  # any application could have written these
_MARKDOWN = {"client::display": {"contentType": "text/markdown"}}
_PRIORITIES = frozenset({1, 3, 5, 9})  # of proxmox-notify: info, notice and unknown, warning, error


@dataclass(frozen=True, slots=True)
class Message:
    """`date` is when the server took it, in Unix seconds. `content` None: it was too large to be read."""

    id: int
    app: int = 0
    date: float | None = None
    content: dict[str, Any] | None = None

    @property
    def raw(self) -> bytes:
        return json.dumps(self.content, ensure_ascii=False).encode(errors="replace")

    @property
    def identity(self) -> str:
        """Its id alone would not do: a server that is set up anew starts again at 1.

        Of the date only the minute counts: databases keep less of it than the stream tells.
        """
        minute = "" if self.date is None else str(int(self.date // 60))
        return hashlib.sha256(f"{self.id}\n{minute}\n".encode() + self.raw).hexdigest()

    @property
    def looks_like_proxmox(self) -> bool:
        """Whether it has the form that proxmox-notify gives to every message."""
        found = self.content or {}
        text = found.get("message")
        fenced = isinstance(text, str) and text.startswith("```\n") and text.rstrip().endswith("\n```")
        return fenced and found.get("extras") == _MARKDOWN and found.get("priority") in _PRIORITIES


def message_of(row: Any) -> Message | None:
    """From the stream or a page; None where it is no message."""
    if not isinstance(row, Mapping) or not isinstance(row.get("id"), int) or not isinstance(row.get("message"), str):
        return None
    content = {key: row[key] for key in ("title", "message", "priority", "extras") if row.get(key) is not None}
    app = row.get("appid")
    return Message(row["id"], app if isinstance(app, int) else 0, _seconds(row.get("date")), content)


def _seconds(date: Any) -> float | None:
    """RFC 3339 with any number of digits behind the seconds."""
    try:
        return datetime.fromisoformat(str(date)).timestamp()
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last message that was committed."""

    id: int
    date: float

    @classmethod
    def read(cls, text: str | None) -> "Cursor | None":
        try:
            found = json.loads(text or "")
            return cls(int(found["id"]), float(found["date"]))
        except (ValueError, KeyError, TypeError):
            return None

    def text(self) -> str:
        return json.dumps({"id": self.id, "date": self.date})

    def before(self, message: Message) -> bool:
        """Whether it came later: by id, and on a server whose ids start anew by date."""
        return message.id > self.id or (message.date is not None and message.date > self.date + SLACK)

    def after(self, messages: list[Message]) -> "Cursor":
        """Where it stands with these; one late message does not move it back."""
        newest = max((one for one in messages if self.before(one)), key=lambda one: one.id, default=None)
        if newest is None:
            return self
        return Cursor(newest.id, self.date if newest.date is None else newest.date)


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns messages into reports. `apps` are the globs of the setting, `names` the applications' by number."""

    apps: tuple[str, ...]
    names: Mapping[int, str]

    def report(self, message: Message) -> Report | None:
        """None for another application's message."""
        if self.apps and not self._named(message):
            return None
        verdict = classify("gotify", message.raw, now=message.date)
        if not self.apps and not self._recognized(message, verdict):
            return None
        return Report(
            identity=message.identity,
            verdict=verdict,
            trust="authenticated",
            at=message.date,
            metadata={"message_id": message.id, "application": self.names.get(message.app, str(message.app))},
        )

    def _named(self, message: Message) -> bool:
        names = (self.names.get(message.app, "").casefold(), str(message.app))
        return any(fnmatchcase(name, glob.casefold()) for glob in self.apps for name in names if name)

    @staticmethod
    def _recognized(message: Message, verdict: Verdict) -> bool:
        return message.looks_like_proxmox or verdict.kind not in _AMBIGUOUS
