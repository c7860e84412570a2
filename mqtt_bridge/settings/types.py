"""What the rest of the project sees of the settings: frozen, typed, checked. Times are seconds unless said."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.approving import ApprovalSettings
from mqtt_bridge.settings.listening import EventSettings, ListenerSettings
from mqtt_bridge.settings.notifying import NotifySettings, OutSettings

Level = Literal["read", "operate", "change", "destroy", "exec"]
LEVELS: tuple[Level, ...] = get_args(Level)
Kind = Literal["pve", "pbs"]


def allows(ceiling: Level, risk: Level) -> bool:
    """Whether `ceiling` permits an action of `risk`: the order is the one of LEVELS, not the alphabet's."""
    return LEVELS.index(risk) <= LEVELS.index(ceiling)


def default_state_dir() -> Path:
    """The platform's folder for state; whoever uses it creates it, with mode 0700."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "proxmox-mcp"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "proxmox-mcp"
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "proxmox-mcp"


@dataclass(frozen=True)
class Endpoint:
    """One API host and what it takes to talk to it. `user` has its realm; an IPv6 `host` has no brackets."""

    name: str
    host: str
    port: int
    kind: Kind
    user: str
    token_name: str
    token_value: Secret
    verify: bool = True
    ca_file: Path | None = None
    fingerprint: str | None = (
        None  # SHA-256 of the certificate, upper case hex with colons: the pin is the verification
    )
    tls_name: str | None = None  # the name to check the certificate against, where it is not `host`
    prefix: str = ""  # what the keys of its settings begin with, to name them in a cure: `PVE1_`

    @property
    def url(self) -> str:
        """`https://host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


@dataclass(frozen=True)
class SiteSettings:
    """A cluster, a standalone host or a Backup Server. `clustered`: further nodes are found in /cluster/status."""

    slug: str
    name: str
    kind: Kind
    endpoints: tuple[Endpoint, ...]
    clustered: bool


@dataclass(frozen=True)
class ApiSettings:
    """How the Proxmox API is used."""

    timeout: float = 30
    retry_attempts: int = 3
    retry_delay: float = 1
    rate_limit: int = 100  # per minute and host, for tools
    poll_interval: float = 10
    poll_tasks_interval: float = 3
    poll_details_budget: int = 120  # calls per minute and site
    poll_slow_interval: float = 3600
    disk_smart: Literal["off", "ssd", "all"] = "ssd"


@dataclass(frozen=True)
class MqttSettings:
    """The broker; without a `host` one of our own is started."""

    host: str | None = None
    port: int = 1883
    username: str | None = None
    password: Secret | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    transport: Literal["tcp", "websockets"] = "tcp"
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    client_id: str | None = None
    base_topic: str = "proxmox"
    embedded_bind: str | None = None
    embedded_port: int = 1883


@dataclass(frozen=True)
class Limits:
    """Allow-lists of one principal, on top of those of PermissionSettings. None: no limit of its own."""

    node_allowlist: frozenset[str] | None = None
    vmid_allowlist: frozenset[int] | None = None
    pool_allowlist: frozenset[str] | None = None
    sites: frozenset[str] | None = None


@dataclass(frozen=True)
class NamedToken:
    """An entry of MCP_TOKENS_FILE. `digest` is the SHA-256 of the token, in hex; the token itself is nowhere.

    Its level takes the place of MCP_ALLOW, its toolsets (None: none said) that of MCP_TOOLSETS.
    """

    name: str
    digest: str
    level: Level = "read"
    toolsets: frozenset[str] | None = None
    limits: Limits = Limits()
    created: str = ""


@dataclass(frozen=True)
class McpSettings:
    """The MCP server. Origins and hosts are compared exactly."""

    host: str = "127.0.0.1"
    port: int = 8080
    auth_token: Secret | None = None
    tokens: tuple[NamedToken, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    toolsets: frozenset[str] = frozenset({"core", "power", "snapshots", "backups", "guest", "notify"})
    tool_prefix: str = ""
    session_idle: float = 300


@dataclass(frozen=True)
class PermissionSettings:
    """What may be done, and to what. An allow-list that is None allows everything."""

    mcp_allow: Level = "read"
    discord_allow: Level = "read"
    mqtt_allow: Level = "read"
    node_allowlist: frozenset[str] | None = None
    vmid_allowlist: frozenset[int] | None = None
    pool_allowlist: frozenset[str] | None = None
    protected_tags: frozenset[str] = frozenset()
    protected_pools: frozenset[str] = frozenset()
    self_guests: frozenset[int] = frozenset()
    site_shutdown: bool = False
    maintenance_evacuate: bool = False
    approval_required: frozenset[Level] = frozenset({"destroy", "exec"})
    image_url_allowlist: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GeneralSettings:
    """Logging, state and names. `lab_control` is the URL at which a running lab takes faults."""

    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"
    log_file: Path | None = None
    state_dir: Path = field(default_factory=default_state_dir)
    bridge_name: str = "main"
    metrics_max_age: float = 300
    lab_control: str | None = None


@dataclass(frozen=True)
class HomeAssistantSettings:
    """MQTT discovery. `entities`: globs `kind/key` or `kind/thing/key`, with `!` left out; the last decides."""

    discovery: bool = True
    prefix: str = "homeassistant"
    entities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """Everything in force. `unavailable` and `warnings` are sentences for people; none of them is fatal."""

    general: GeneralSettings = field(default_factory=GeneralSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    permission: PermissionSettings = field(default_factory=PermissionSettings)
    approval: ApprovalSettings = field(default_factory=ApprovalSettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    mcp: McpSettings = field(default_factory=McpSettings)
    events: EventSettings = field(default_factory=EventSettings)
    listen: ListenerSettings = field(default_factory=ListenerSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    out: OutSettings = field(default_factory=OutSettings)
    homeassistant: HomeAssistantSettings = field(default_factory=HomeAssistantSettings)
    sites: tuple[SiteSettings, ...] = ()
    unavailable: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    env_file: Path | None = None
