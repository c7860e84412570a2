"""Settings of the notifiers and of what they are told. Times are seconds unless said."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mqtt_bridge.secret import Secret
from mqtt_bridge.severity import Severity

NotifierName = Literal["DISCORD_OUT", "GOTIFY_OUT", "NTFY", "EMAIL", "WEBHOOK", "APPRISE"]


@dataclass(frozen=True)
class Routing:
    """Which events one notifier tells. Globs; ! before one excludes; empty: all."""

    min_severity: Severity = "warning"
    kinds: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()  # VMIDs and ranges
    tags: tuple[str, ...] = ()  # of the guest
    rate_limit: int = 30  # notices a minute; a flood becomes one digest; 0: no limit
    updates: Literal["update", "omit"] = "update"  # later reports of an incident: edit and thread, or leave out


@dataclass(frozen=True)
class NotifySettings:
    """What is common to all notifiers."""

    enabled: frozenset[NotifierName] = frozenset()
    routing: dict[str, Routing] = field(default_factory=dict)  # by notifier
    max_age: float = 3600  # NOTIFY_MAX_AGE: what is older when it is caught up becomes one digest
    quiet_hours: str = ""  # NOTIFY_QUIET_HOURS `22:00-07:00` in TZ: only critical then; the rest as one digest after
    timezone: str = ""  # TZ; empty: the system's
    debounce: float = 60  # NOTIFY_DEBOUNCE: flapping; the first report goes out at once
    repeat: float = 86400  # NOTIFY_REPEAT: an unchanged problem is told again
    digest_at: str = "08:00"  # NOTIFY_DIGEST_AT: the morning digest of good backups; `off`: none
    heartbeat_url: Secret | None = None  # HEARTBEAT_URL, pinged while all is well


@dataclass(frozen=True)
class DiscordOutSettings:
    webhook_url: Secret | None = None


@dataclass(frozen=True)
class GotifyOutSettings:
    server_url: str = ""
    app_token: Secret | None = None
    verify: bool = True


@dataclass(frozen=True)
class NtfySettings:
    server_url: str = "https://ntfy.sh"
    topic: Secret | None = None
    token: Secret | None = None
    verify: bool = True


@dataclass(frozen=True)
class EmailOutSettings:
    server: str = ""
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    verify: bool = True
    sender: str = ""  # NOTIFY_EMAIL_FROM
    recipients: tuple[str, ...] = ()  # NOTIFY_EMAIL_TO
    username: str = ""
    password: Secret | None = None


@dataclass(frozen=True)
class WebhookOutSettings:
    url: Secret | None = None
    secret: Secret | None = None  # signs; without it nothing is signed
    ca_file: Path | None = None
    verify: bool = True


@dataclass(frozen=True)
class AppriseSettings:
    urls: Secret | None = None  # comma separated; they carry passwords


@dataclass(frozen=True)
class OutSettings:
    """One section a notifier."""

    discord: DiscordOutSettings = field(default_factory=DiscordOutSettings)
    gotify: GotifyOutSettings = field(default_factory=GotifyOutSettings)
    ntfy: NtfySettings = field(default_factory=NtfySettings)
    email: EmailOutSettings = field(default_factory=EmailOutSettings)
    webhook: WebhookOutSettings = field(default_factory=WebhookOutSettings)
    apprise: AppriseSettings = field(default_factory=AppriseSettings)
