"""What every service shows of a notice, cleaned and bounded."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

from mqtt_bridge.model import Event
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifiers.render import event_look, listed, where
from mqtt_bridge.wording.clean import clean, one_line

MAX_FACTS = 12
MAX_EVENTS = 20
_LABEL_LIMIT, _VALUE_LIMIT = 40, 200
_LOG_LIMIT = 16_000
_HARMLESS = frozenset("!#$%&'()*+,-./:;=?@[]_~") | frozenset(
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


def title(notice: Notice) -> str:
    """One line, never empty: services refuse that."""
    return one_line(notice.title) or "Proxmox"


def text(notice: Notice) -> str:
    """The text's begin; may be empty."""
    return clean(notice.text).strip()


def told(notice: Notice) -> str:
    """The text, and of a digest the worst events; may be empty."""
    return "\n".join(filter(None, (text(notice), *_lines(notice))))


def _lines(notice: Notice) -> list[str]:
    events, more = listed(notice)
    shown = events[:MAX_EVENTS]
    more += len(events) - len(shown)
    lines = [f"{event_look(event).word}: {one_line(event.title)}{_place(event)}" for event in shown]
    return [*lines, f"… and {more} more"] if more else lines


def _place(event: Event) -> str:
    place = where(event)
    return f" ({place})" if place else ""


def log(notice: Notice) -> str:
    """The log's end; may be empty."""
    return clean(notice.log[-_LOG_LIMIT:], _LOG_LIMIT).strip()


def facts(notice: Notice) -> list[tuple[str, str]]:
    """Label and value, neither of them empty, MAX_FACTS at most."""
    cleaned = [(one_line(label, _LABEL_LIMIT), one_line(value, _VALUE_LIMIT)) for label, value in notice.facts]
    return [(label, value) for label, value in cleaned if label and value][:MAX_FACTS]


def moment(notice: Notice) -> datetime | None:
    """When it happened, in UTC; None where `at` is no time."""
    try:
        at = datetime.fromisoformat(notice.at)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def footline(notice: Notice) -> str:
    """`lab · 2026-11-20 03:00 UTC`: whose it is, and when it happened, which may be long before it could be told."""
    at = moment(notice)
    return " · ".join(filter(None, (one_line(notice.site, 60), at.strftime("%Y-%m-%d %H:%M UTC") if at else "")))


def link(notice: Notice, limit: int = 2000) -> str | None:
    """The page in Proxmox, if it is a URL that every service takes."""
    url = notice.url or ""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return None
    return url if good and len(url) <= limit and _HARMLESS.issuperset(url) else None
