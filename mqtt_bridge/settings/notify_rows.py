"""The rows of the notifiers and of what they are told: what fills `notifying`."""

import zoneinfo

import voluptuous as vol

from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.event_rows import GLOBS, GUESTS, SEVERITY
from mqtt_bridge.settings.plugins import names
from mqtt_bridge.settings.row import Row

NOTIFIERS: dict[str, tuple[str, str]] = {  # name → what its keys begin with, its section of OutSettings
    "DISCORD_OUT": ("DISCORD_OUT", "discord"),
    "GOTIFY_OUT": ("GOTIFY_OUT", "gotify"),
    "NTFY": ("NTFY", "ntfy"),
    "EMAIL": ("NOTIFY_EMAIL", "email"),
    "WEBHOOK": ("WEBHOOK_OUT", "webhook"),
    "APPRISE": ("APPRISE", "apprise"),
}
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d"


def _zone(text: str) -> str:
    """A name such as Europe/Berlin. POSIX's other forms (CET-1, :/etc/localtime) are left to the system: "" is that."""
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if "/" not in text or text.startswith(":"):
            return ""
        raise vol.Invalid("is no time zone that this machine knows: write for example Europe/Berlin") from None
    return text


NOTIFIER_NAMES = names(NOTIFIERS)
HOURS = v.matching(rf"{_CLOCK}\s*-\s*{_CLOCK}", "a span of hours: write for example 22:00-07:00", "span of hours")
CLOCK = v.matching(rf"{_CLOCK}|off", "a time of day (08:00) or off", "time of day, or off")
ZONE = v.Shape("time zone", _zone)
TOPIC = v.matching(r"[A-Za-z0-9_-]{1,64}", "a topic: letters, digits, _ and - (at most 64)", "topic")
MAIL = v.matching(r"[^\s@]+@[^\s@]+|[^<>]{1,100}<[^\s@]+@[^\s@]+>", "an address", "mail address")
MAILS = v.words(r"[^\s@]+@[^\s@]+", "a mail address")
SECURITY = v.choice("starttls", "tls", "none")


def _enabled(name: str, what: str) -> Row:
    return Row(f"{NOTIFIERS[name][0]}_ENABLED", "notify", what, v.BOOLEAN, unset="as in ENABLED_NOTIFIERS")


def _row(
    key: str, text: str, shape: v.Shape, default: str = "", *, into: str, unset: str = "", example: str = ""
) -> Row:
    return Row(key, "notify", text, shape, default, unset=unset, into=f"out.{into}", example=example)


def _secret(key: str, text: str, *, into: str, shape: v.Shape = v.TEXT) -> Row:
    return Row(key, "notify", text, shape, into=f"out.{into}", secret=True)


_ROUTING: tuple[tuple[str, str, v.Shape, str, str], ...] = (
    ("MIN_SEVERITY", "Least severity that it tells.", SEVERITY, "warning", ""),
    ("KINDS", "Kinds of events that it tells.", GLOBS, "", "backup.*,!*.started"),
    ("NODES", "Nodes of which it tells.", GLOBS, "", "pve*"),
    ("GUESTS", "Guests of which it tells; what concerns no guest is told.", GUESTS, "", "100-199"),
    ("TAGS", "Tags of guests of which it tells; what concerns no guest is told.", GLOBS, "", "prod"),
    ("RATE_LIMIT", "Notices a minute; a flood becomes one digest; 0 is no limit.", v.integer(0, 10_000), "30", ""),
    ("UPDATES", "Later reports of an incident: update changes or threads what was told, omit leaves them out.",
     v.choice("update", "omit"), "update", ""),
)  # fmt: skip


def _routing(name: str) -> tuple[Row, ...]:
    prefix = NOTIFIERS[name][0]
    return tuple(
        Row(
            f"{prefix}_{key}",
            "notify routing",
            f"{name}: {text[0].lower()}{text[1:]}",
            shape,
            default,
            unset="all",
            into=f"routing.{name}.{key.lower()}",
            example=example,
        )
        for key, text, shape, default, example in _ROUTING
    )


def _common(key: str, text: str, shape: v.Shape, default: str = "", *, into: str, unset: str = "") -> Row:
    return Row(key, "notify", text, shape, default, unset=unset, into=f"notify.{into}")


NOTIFY_ROWS: tuple[Row, ...] = (
    Row("ENABLED_NOTIFIERS", "notify", "Notifiers that run, beside those with a flag of their own.", NOTIFIER_NAMES),
    _common(
        "NOTIFY_MAX_AGE",
        "What is older when it is caught up becomes one digest.",
        v.duration(60, 30 * 86400),
        "1h",
        into="max_age",
    ),
    _common(
        "NOTIFY_QUIET_HOURS",
        "Only critical is told then, the rest in one digest afterwards.",
        HOURS,
        into="quiet_hours",
        unset="none",
    ),
    Row(
        "TZ",
        "notify",
        "Time zone of these hours and of the digest.",
        ZONE,
        unset="the system's",
        into="notify.timezone",
        shared=True,
    ),
    _common(
        "NOTIFY_DEBOUNCE",
        "What flaps is told at once, then not before it has been quiet for so long.",
        v.duration(0, 3600),
        "60",
        into="debounce",
    ),
    _common(
        "NOTIFY_REPEAT",
        "A problem that goes on is told again after this.",
        v.duration(300, 30 * 86400),
        "24h",
        into="repeat",
    ),
    _common("NOTIFY_DIGEST_AT", "When good backups are told, as one digest.", CLOCK, "08:00", into="digest_at"),
    Row(
        "HEARTBEAT_URL",
        "notify",
        "URL that is fetched every minute while all is well: what watches it tells of our own death.",
        v.URL,
        into="notify.heartbeat_url",
        secret=True,
    ),
    _enabled("DISCORD_OUT", "Tell a Discord channel."),
    _secret("DISCORD_OUT_WEBHOOK_URL", "URL of the channel's webhook.", into="discord.webhook_url", shape=v.URL),
    _enabled("GOTIFY_OUT", "Tell a Gotify server."),
    _row(
        "GOTIFY_OUT_SERVER_URL",
        "The Gotify server.",
        v.URL,
        into="gotify.server_url",
        example="https://gotify.example.org",
    ),
    _secret("GOTIFY_OUT_APP_TOKEN", "An application's token.", into="gotify.app_token"),
    _row("GOTIFY_OUT_VERIFY_TLS", "Whether its certificate is checked.", v.BOOLEAN, "true", into="gotify.verify"),
    _enabled("NTFY", "Tell an ntfy topic."),
    _row("NTFY_SERVER_URL", "The ntfy server.", v.URL, "https://ntfy.sh", into="ntfy.server_url"),
    _secret("NTFY_TOPIC", "The topic: who knows its name can read it.", into="ntfy.topic", shape=TOPIC),
    _secret("NTFY_TOKEN", "An access token, if the topic needs one.", into="ntfy.token"),
    _row("NTFY_VERIFY_TLS", "Whether its certificate is checked.", v.BOOLEAN, "true", into="ntfy.verify"),
    _enabled("EMAIL", "Send mail."),
    _row("NOTIFY_EMAIL_SERVER", "The mail server.", v.HOST, into="email.server", example="smtp.example.org"),
    _row("NOTIFY_EMAIL_PORT", "Its port.", v.PORT, into="email.port", unset="587, with tls 465, with none 25"),
    _row("NOTIFY_EMAIL_SECURITY", "How the connection is secured.", SECURITY, "starttls", into="email.security"),
    _row("NOTIFY_EMAIL_VERIFY_TLS", "Whether its certificate is checked.", v.BOOLEAN, "true", into="email.verify"),
    _row("NOTIFY_EMAIL_FROM", "Sender.", MAIL, into="email.sender", example="pve@example.org"),
    _row("NOTIFY_EMAIL_TO", "Recipients.", MAILS, into="email.recipients", example="admin@example.org"),
    _row("NOTIFY_EMAIL_USERNAME", "User at the mail server.", v.TEXT, into="email.username"),
    _secret("NOTIFY_EMAIL_PASSWORD", "Its password.", into="email.password"),
    _enabled("WEBHOOK", "Post the event as JSON to a URL."),
    _secret("WEBHOOK_OUT_URL", "The URL.", into="webhook.url", shape=v.URL),
    _secret("WEBHOOK_OUT_SECRET", "Key of the signature (HMAC-SHA256).", into="webhook.secret"),
    _row("WEBHOOK_OUT_CA_FILE", "CA that signed its certificate.", v.EXISTING_FILE, into="webhook.ca_file"),
    _row("WEBHOOK_OUT_VERIFY_TLS", "Whether its certificate is checked.", v.BOOLEAN, "true", into="webhook.verify"),
    _enabled("APPRISE", "Tell any service that Apprise knows (extra `apprise`)."),
    _secret("APPRISE_URLS", "Apprise's URLs, comma separated.", into="apprise.urls", shape=v.ANY),
    *(row for name in NOTIFIERS for row in _routing(name)),
)
