"""Settings of the listeners, of the filters behind them and of the journal. Times are seconds unless said."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mqtt_bridge.secret import Secret
from mqtt_bridge.severity import Severity

ListenerName = Literal["WEBSOCKET", "EMAIL", "SMTP", "SYSLOG", "GOTIFY_IN", "WEBHOOK", "DISCORD_IN", "METRICS"]


@dataclass(frozen=True)
class Filters:
    """What becomes an event. A glob or keyword with ! before it excludes; an exclusion wins."""

    min_severity: Severity = "info"
    nodes: tuple[str, ...] = ()  # globs; empty: all
    guests: tuple[str, ...] = ()  # VMIDs, ranges (100-199); ! excludes; empty: all
    kinds: tuple[str, ...] = ()  # globs: backup.*, !metrics.*
    keywords: tuple[str, ...] = ()  # in title or message, case-insensitive
    rate_limit: int = 0  # events of info and warning a minute; 0: no limit


@dataclass(frozen=True)
class EventSettings:
    """What is common to all listeners. `per_listener` filters come on top of `filters`."""

    enabled: frozenset[ListenerName] = frozenset({"WEBSOCKET"})
    filters: Filters = field(default_factory=lambda: Filters(kinds=("!noise",)))
    per_listener: dict[str, Filters] = field(default_factory=dict)
    duplicates: Literal["mark", "drop", "all"] = "mark"
    journal_max_events: int = 100_000


@dataclass(frozen=True)
class LiveSettings:
    """The live API watcher."""

    reconnect_interval: float = 5  # EVENT_WS_RECONNECT_INTERVAL: longest pause between two attempts at its own reads
    storage_warning: float = 85  # percent; EVENT_WS_STORAGE_WARNING
    storage_error: float = 95  # percent; EVENT_WS_STORAGE_ERROR
    backup_max_age: float = 7 * 86400  # EVENT_WS_BACKUP_MAX_AGE: an older newest backup of a covered guest is stale
    log_priority: int = 4  # EVENT_WS_LOG_PRIORITY: cluster log entries of this syslog priority and above (4 warning)


@dataclass(frozen=True)
class EmailInSettings:
    """A mailbox read over IMAP."""

    server: str = ""
    port: int = 993
    username: str = ""
    password: Secret | None = None
    folders: tuple[str, ...] = ("INBOX",)
    poll_interval: float = 60  # where the server has no IDLE
    security: Literal["tls", "starttls", "none"] = "tls"
    verify: bool = True
    processed: str = "flag"  # EVENT_EMAIL_PROCESSED: `flag` sets a keyword, `seen` marks as read, `move:Folder` moves
    senders: tuple[str, ...] = ()  # EVENT_EMAIL_SENDERS: globs of From that count as Proxmox's beside those recognised


@dataclass(frozen=True)
class SmtpInSettings:
    """A small mail receiver."""

    host: str = "127.0.0.1"
    port: int = 2525
    max_size: int = 10 * 1024 * 1024
    recipients: tuple[str, ...] = ()  # globs; empty: all
    allowed_sources: tuple[str, ...] = ()  # addresses and networks; empty: loopback only
    username: str = ""  # with it, AUTH is required and what comes in is authenticated
    password: Secret | None = None


@dataclass(frozen=True)
class SyslogSettings:
    """Syslog over UDP and TCP on one port."""

    host: str = "127.0.0.1"
    port: int = 514
    protocols: tuple[str, ...] = ("udp", "tcp")
    parse_format: Literal["auto", "rfc3164", "rfc5424"] = "auto"
    allowed_sources: tuple[str, ...] = ()  # addresses and networks; empty: loopback only


@dataclass(frozen=True)
class GotifyInSettings:
    """A Gotify server's stream."""

    server_url: str = ""
    client_token: Secret | None = None
    verify: bool = True
    apps: tuple[str, ...] = ()  # GOTIFY_IN_APPS: globs of application names or ids; empty: what is recognised


@dataclass(frozen=True)
class WebhookInSettings:
    """The HTTP listener of notification webhooks, which also answers like a Gotify server."""

    host: str = "127.0.0.1"
    port: int = 8090
    token: Secret | None = None
    max_size: int = 1024 * 1024
    cert_file: Path | None = None  # EVENT_WEBHOOK_CERT_FILE: with it and the key, HTTPS
    key_file: Path | None = None  # EVENT_WEBHOOK_KEY_FILE


@dataclass(frozen=True)
class DiscordInSettings:
    """A bot on the gateway."""

    bot_token: Secret | None = None
    channels: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()  # ids or names that may give commands
    own_webhooks: frozenset[int] = frozenset()  # of DISCORD_OUT and APPRISE: what they post is no news


@dataclass(frozen=True)
class MetricsInSettings:
    """Where Proxmox's InfluxDB metric servers push to."""

    host: str = "127.0.0.1"
    port: int = 8086
    udp_port: int = 0  # 0: no UDP
    token: Secret | None = None
    allowed_sources: tuple[str, ...] = ()  # for UDP; empty: loopback only


@dataclass(frozen=True)
class ListenerSettings:
    """One section a listener."""

    live: LiveSettings = field(default_factory=LiveSettings)
    email: EmailInSettings = field(default_factory=EmailInSettings)
    smtp: SmtpInSettings = field(default_factory=SmtpInSettings)
    syslog: SyslogSettings = field(default_factory=SyslogSettings)
    gotify: GotifyInSettings = field(default_factory=GotifyInSettings)
    webhook: WebhookInSettings = field(default_factory=WebhookInSettings)
    discord: DiscordInSettings = field(default_factory=DiscordInSettings)
    metrics: MetricsInSettings = field(default_factory=MetricsInSettings)
