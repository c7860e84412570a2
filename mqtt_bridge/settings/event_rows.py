"""The rows of the listeners, of the filters behind them and of the journal: what fills `listening`."""

import fnmatch
import ipaddress
import re

import voluptuous as vol

from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.plugins import names
from mqtt_bridge.settings.row import Row
from mqtt_bridge.severity import SEVERITIES

LISTENERS: dict[str, tuple[str, str]] = {  # name → what its keys begin with, its section of ListenerSettings
    "WEBSOCKET": ("EVENT_WS", "live"),
    "EMAIL": ("EVENT_EMAIL", "email"),
    "SMTP": ("EVENT_SMTP", "smtp"),
    "SYSLOG": ("EVENT_SYSLOG", "syslog"),
    "GOTIFY_IN": ("GOTIFY_IN", "gotify"),
    "WEBHOOK": ("EVENT_WEBHOOK", "webhook"),
    "DISCORD_IN": ("DISCORD_IN", "discord"),
    "METRICS": ("EVENT_METRICS", "metrics"),
}
FILTERED = tuple(name for name in LISTENERS if name != "METRICS")
_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _networks(text: str) -> tuple[str, ...]:
    for position, part in enumerate(v.split(text), start=1):
        try:
            ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise vol.Invalid(
                f"entry {position} is neither an address nor a network: write for example 192.0.2.0/24"
            ) from None
    return v.split(text)


def _globs(text: str) -> tuple[str, ...]:
    for part in v.split(text):
        re.compile(fnmatch.translate(part.removeprefix("!")))
    return v.split(text)


def _guests(text: str) -> tuple[str, ...]:
    for position, part in enumerate(v.split(text), start=1):
        found = re.fullmatch(r"!?(\d{1,9})(?:-(\d{1,9}))?", part)
        if not found or int(found[1]) > int(found[2] or found[1]):
            raise vol.Invalid(f"entry {position} is no VMID and no range of them: write for example 100,200-299,!250")
    return v.split(text)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d{1,12})\s*([kmg]?)i?b?", text.casefold())
    size = int(found[1]) * _SIZES[found[2]] if found else 0
    if not 1024 <= size <= 1024**3:  # noqa: PLR2004 -- said in the sentence
        raise vol.Invalid("is not a size from 1k to 1g: write for example 512k or 10m")
    return size


LISTENER_NAMES = names(LISTENERS)
NETWORKS = v.Shape("addresses and networks, comma separated", _networks)
GLOBS = v.Shape("globs, comma separated; ! before one excludes", _globs)
GUESTS = v.Shape("VMIDs and ranges, comma separated; ! before one excludes", _guests)
LIST = v.Shape("list, comma separated", v.split)
SIZE = v.Shape("bytes, or with k, m, g: 1k to 1g", _size)
SEVERITY = v.choice(*SEVERITIES)
PROCESSED = v.matching(r"flag|seen|move:[^\x00-\x1f]{1,200}", "flag, seen or move:FOLDER", "flag, seen or move:FOLDER")
_CHANNELS = v.words(r"\d{5,25}", "the number of a channel", hint="Discord shows it under Copy Channel ID")
CHANNELS = v.Shape(_CHANNELS.text, lambda text: tuple(int(number) for number in _CHANNELS(text)))

_SOURCES = "Addresses and networks that may send."
_LOCAL = "127.0.0.1"


def _enabled(prefix: str, what: str) -> Row:
    return Row(f"{prefix}_ENABLED", "events in", what, v.BOOLEAN, unset="as in ENABLED_EVENT_LISTENERS")


def _row(
    key: str, text: str, shape: v.Shape, default: str = "", *, into: str, unset: str = "", example: str = ""
) -> Row:
    return Row(key, "events in", text, shape, default, unset=unset, into=f"listen.{into}", example=example)


def _secret(key: str, text: str, *, into: str, shape: v.Shape = v.TEXT) -> Row:
    return Row(key, "events in", text, shape, into=f"listen.{into}", secret=True)


_FILTERS: tuple[tuple[str, str, v.Shape, str], ...] = (
    ("MIN_SEVERITY", "Least severity that becomes an event.", SEVERITY, ""),
    ("NODES", "Nodes whose events are taken.", GLOBS, "pve*,!pve9"),
    ("GUESTS", "Guests whose events are taken; what concerns no guest is always taken.", GUESTS, "100-199,!150"),
    ("KINDS", "Kinds of events that are taken.", GLOBS, "backup.*,!auth.succeeded"),
    ("KEYWORDS", "Words that title or message must (with ! must not) hold.", LIST, "!cron"),
    (
        "RATE_LIMIT",
        "Events a minute of info and warning; what exceeds it is counted in one summary event; 0 is no limit.",
        v.integer(0, 1_000_000),
        "",
    ),
)
_DEFAULTS = {"MIN_SEVERITY": "info", "KINDS": "!noise", "RATE_LIMIT": "0"}


def _filters(prefix: str, section: str) -> tuple[Row, ...]:
    """The filters of one listener, or (`all`) of every one."""
    common = section == "all"
    return tuple(
        Row(
            f"{prefix}_{key}",
            "filters" if common else "filters of one listener",
            text if common else f"{section}: {text[0].lower()}{text[1:]}",
            shape,
            _DEFAULTS.get(key, "") if common else "",
            unset="no limit" if key == "RATE_LIMIT" else "all",
            into=f"filters.{section}.{key.lower()}",
            example=example,
        )
        for key, text, shape, example in _FILTERS
    )


def _mail() -> tuple[Row, ...]:
    return (
        _enabled("EVENT_EMAIL", "Read a mailbox over IMAP."),
        _row("EVENT_EMAIL_IMAP_SERVER", "The IMAP server.", v.HOST, into="email.server", example="imap.example.org"),
        _row("EVENT_EMAIL_IMAP_PORT", "Its port.", v.PORT, into="email.port", unset="993, without TLS 143"),
        _row(
            "EVENT_EMAIL_SECURITY",
            "How the connection is secured.",
            v.choice("tls", "starttls", "none"),
            "tls",
            into="email.security",
        ),
        _row("EVENT_EMAIL_VERIFY_TLS", "Whether its certificate is checked.", v.BOOLEAN, "true", into="email.verify"),
        _row("EVENT_EMAIL_USERNAME", "User of the mailbox.", v.TEXT, into="email.username"),
        _secret("EVENT_EMAIL_PASSWORD", "Its password, or an app password.", into="email.password"),
        _row("EVENT_EMAIL_FOLDER", "Folders that are read.", LIST, "INBOX", into="email.folders"),
        _row(
            "EVENT_EMAIL_POLL_INTERVAL",
            "How often, where the server has no IDLE.",
            v.duration(5, 86400),
            "60",
            into="email.poll_interval",
        ),
        _row(
            "EVENT_EMAIL_PROCESSED",
            "What is done with a mail of Proxmox that was read: a keyword, marked as read, or moved.",
            PROCESSED,
            "flag",
            into="email.processed",
        ),
        _row(
            "EVENT_EMAIL_SENDERS",
            "Senders whose mails count as Proxmox's, beside those recognised.",
            GLOBS,
            into="email.senders",
            example="root@*.example.org",
        ),
        _enabled("EVENT_SMTP", "Receive mail from Proxmox's SMTP target or a host's relay."),
        _row("EVENT_SMTP_LISTEN_HOST", "Address to listen on.", v.HOST, _LOCAL, into="smtp.host"),
        _row("EVENT_SMTP_LISTEN_PORT", "Port to listen on.", v.LISTEN_PORT, "2525", into="smtp.port"),
        _row("EVENT_SMTP_MAX_SIZE", "Largest mail.", SIZE, "10m", into="smtp.max_size"),
        _row(
            "EVENT_SMTP_RECIPIENTS",
            "Recipients that are accepted.",
            GLOBS,
            into="smtp.recipients",
            unset="all",
            example="proxmox@*",
        ),
        _row(
            "EVENT_SMTP_ALLOWED_SOURCES",
            _SOURCES,
            NETWORKS,
            into="smtp.allowed_sources",
            unset="this machine only",
            example="192.0.2.0/24",
        ),
        _row(
            "EVENT_SMTP_USERNAME",
            "User that senders have to log in as; with it their mails are trusted more.",
            v.TEXT,
            into="smtp.username",
        ),
        _secret("EVENT_SMTP_PASSWORD", "Its password.", into="smtp.password"),
    )


def _network() -> tuple[Row, ...]:
    return (
        _enabled("EVENT_SYSLOG", "Receive syslog."),
        _row("EVENT_SYSLOG_LISTEN_HOST", "Address to listen on.", v.HOST, _LOCAL, into="syslog.host"),
        _row("EVENT_SYSLOG_LISTEN_PORT", "Port to listen on, UDP and TCP.", v.LISTEN_PORT, "514", into="syslog.port"),
        _row("EVENT_SYSLOG_PROTOCOLS", "Transports.", v.choices("udp", "tcp"), "udp,tcp", into="syslog.protocols"),
        _row(
            "EVENT_SYSLOG_PARSE_FORMAT",
            "Form of the lines.",
            v.choice("auto", "rfc3164", "rfc5424"),
            "auto",
            into="syslog.parse_format",
        ),
        _row(
            "EVENT_SYSLOG_ALLOWED_SOURCES",
            _SOURCES,
            NETWORKS,
            into="syslog.allowed_sources",
            unset="this machine only",
            example="192.0.2.0/24",
        ),
        _enabled("EVENT_WEBHOOK", "Receive notification webhooks, and what is sent to a Gotify server."),
        _row("EVENT_WEBHOOK_LISTEN_HOST", "Address to listen on.", v.HOST, _LOCAL, into="webhook.host"),
        _row("EVENT_WEBHOOK_LISTEN_PORT", "Port to listen on.", v.LISTEN_PORT, "8090", into="webhook.port"),
        _secret(
            "EVENT_WEBHOOK_TOKEN",
            "Token that senders show; required beyond this machine.",
            into="webhook.token",
            shape=v.TOKEN,
        ),
        _row("EVENT_WEBHOOK_MAX_SIZE", "Largest body.", SIZE, "1m", into="webhook.max_size"),
        _row(
            "EVENT_WEBHOOK_CERT_FILE",
            "Certificate to answer with over HTTPS.",
            v.EXISTING_FILE,
            into="webhook.cert_file",
            unset="plain HTTP",
        ),
        _row("EVENT_WEBHOOK_KEY_FILE", "Key of that certificate.", v.EXISTING_FILE, into="webhook.key_file"),
        _enabled("GOTIFY_IN", "Read a Gotify server's messages."),
        _row(
            "GOTIFY_IN_SERVER_URL",
            "The Gotify server.",
            v.URL,
            into="gotify.server_url",
            example="https://gotify.example.org",
        ),
        _secret("GOTIFY_IN_CLIENT_TOKEN", "A client's token (not an app's).", into="gotify.client_token"),
        _row("GOTIFY_IN_VERIFY_TLS", "Whether its certificate is checked.", v.BOOLEAN, "true", into="gotify.verify"),
        _row(
            "GOTIFY_IN_APPS",
            "Applications, by name or number, all of whose messages are taken.",
            GLOBS,
            into="gotify.apps",
            unset="what is recognised as Proxmox's",
            example="proxmox*",
        ),
        _enabled("DISCORD_IN", "Read channels of Discord with a bot, and take commands there (extra `discord`)."),
        _secret("DISCORD_IN_BOT_TOKEN", "The bot's token.", into="discord.bot_token"),
        _row("DISCORD_IN_CHANNELS", "Numbers of the channels that are read.", CHANNELS, into="discord.channels"),
        _row(
            "DISCORD_IN_ROLES",
            "Roles, by name or number, whose members may give commands.",
            LIST,
            into="discord.roles",
            unset="nobody",
        ),
        _enabled("EVENT_METRICS", "Receive Proxmox's metrics as an InfluxDB server would."),
        _row("EVENT_METRICS_LISTEN_HOST", "Address to listen on.", v.HOST, _LOCAL, into="metrics.host"),
        _row("EVENT_METRICS_LISTEN_PORT", "Port for HTTP.", v.LISTEN_PORT, "8086", into="metrics.port"),
        _row("EVENT_METRICS_UDP_PORT", "Port for UDP; 0 is none.", v.LISTEN_PORT, "0", into="metrics.udp_port"),
        _secret(
            "EVENT_METRICS_TOKEN",
            "Token that Proxmox shows; required beyond this machine.",
            into="metrics.token",
            shape=v.TOKEN,
        ),
        _row(
            "EVENT_METRICS_ALLOWED_SOURCES",
            "Addresses and networks that may send by UDP.",
            NETWORKS,
            into="metrics.allowed_sources",
            unset="this machine only",
            example="192.0.2.0/24",
        ),
    )


EVENT_ROWS: tuple[Row, ...] = (
    Row("ENABLE_EVENT_LISTENERS", "events in", "Whether any listener runs.", v.BOOLEAN, "true"),
    Row(
        "ENABLED_EVENT_LISTENERS",
        "events in",
        "Listeners that run, beside those with a flag of their own.",
        LISTENER_NAMES,
        "WEBSOCKET",
    ),
    _enabled("EVENT_WS", "The live API watcher: tasks, guests, nodes, quorum, storages as they change."),
    _row(
        "EVENT_WS_RECONNECT_INTERVAL",
        "Pause before it asks again after a failure.",
        v.duration(0.2, 3600),
        "5",
        into="live.reconnect_interval",
    ),
    _row(
        "EVENT_WS_STORAGE_WARNING",
        "Percent of a storage's use that is told as a warning.",
        v.integer(1, 100),
        "85",
        into="live.storage_warning",
    ),
    _row(
        "EVENT_WS_STORAGE_ERROR",
        "Percent of a storage's use that is told as an error.",
        v.integer(1, 100),
        "95",
        into="live.storage_error",
    ),
    _row(
        "EVENT_WS_BACKUP_MAX_AGE",
        "A guest in a backup job whose newest backup is older is told.",
        v.duration(3600, 365 * 86400),
        "7d",
        into="live.backup_max_age",
    ),
    _row(
        "EVENT_WS_LOG_PRIORITY",
        "Cluster log entries of this syslog priority and above are told (3 errors, 4 warnings); -1 is none.",
        v.integer(-1, 7),
        "4",
        into="live.log_priority",
    ),
    *_mail(),
    *_network(),
    *_filters("EVENT", "all"),
    Row(
        "EVENT_DUPLICATES",
        "filters",
        "What becomes of later reports of one happening: marked as such, dropped, or left as they are.",
        v.choice("mark", "drop", "all"),
        "mark",
        into="events.duplicates",
    ),
    *(row for name in FILTERED for row in _filters(LISTENERS[name][0], name)),
    Row(
        "JOURNAL_MAX_EVENTS",
        "filters",
        "Events kept in STATE_DIR; the oldest published ones of no importance go first.",
        v.integer(100, 10_000_000),
        "100000",
        into="events.journal_max_events",
    ),
)
