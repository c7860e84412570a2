"""Every setting that works in this version, once. Those of later versions are in `later`.

Loading, `proxmox-mcp config`, `.env.example` and `docs/configuration.md` are made from these rows.
"""

from dataclasses import replace

from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.approval_rows import APPROVAL_ROWS
from mqtt_bridge.settings.event_rows import EVENT_ROWS
from mqtt_bridge.settings.later import LATER
from mqtt_bridge.settings.notify_rows import NOTIFY_ROWS
from mqtt_bridge.settings.row import SECRET_FILE, Row
from mqtt_bridge.settings.tokens import TOKENS
from mqtt_bridge.settings.types import LEVELS

TOOLSETS: tuple[str, ...] = (
    "core", "power", "history", "snapshots", "backups", "provision", "hardware", "guest", "iac", "notify",
)  # fmt: skip

GROUPS: dict[str, str] = {
    "one host": "One Proxmox VE host, the short form",
    "lab": "Several hosts, each on its own",
    "host": "For every host named above: N is its name in capitals, with - as _",
    "cluster": "Clusters",
    "API": "How the Proxmox API is used",
    "permission": "What may be done",
    "approval": "Approvals by people",
    "MQTT": "MQTT",
    "MCP": "MCP, for AI agents",
    "events in": "Events in: the listeners",
    "filters": "Which events are kept",
    "filters of one listener": "The same for one listener, on top of that",
    "notify": "Notifiers",
    "notify routing": "What each notifier tells",
    "Home Assistant": "Home Assistant",
    "general": "General",
}

# What an API host takes, behind a prefix: PVE1_ (a name), PROXMOX_ (the short form), PVE_CLUSTER_PRIMARY_.
HOST_ROWS: tuple[Row, ...] = (
    Row("HOST", "host", "Address of the host; it may carry a port.", v.HOST_PORT, example="192.0.2.11"),
    Row("USER", "host", "User that owns the token, with its realm.", v.USER, example="proxmox-mcp@pve"),
    Row("TOKEN_NAME", "host", "Name of the API token.", v.TOKEN_NAME, example="mcp"),
    Row(
        "TOKEN_VALUE",
        "host",
        "The token's secret.",
        v.API_SECRET,
        secret=True,
        example="xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
    ),
    Row("VERIFY_SSL", "host", "Whether its certificate is checked.", v.BOOLEAN, unset="as VERIFY_SSL"),
    Row(
        "CA_FILE",
        "host",
        "CA that signed its certificate; a PVE cluster's own is /etc/pve/pve-root-ca.pem and survives renewals.",
        v.EXISTING_FILE,
        example="/etc/proxmox-mcp/pve-root-ca.pem",
    ),
    Row(
        "FINGERPRINT",
        "host",
        "SHA-256 fingerprint of its certificate to pin; `proxmox-mcp check` shows it.",
        v.FINGERPRINT,
        example="AA:BB:…",
    ),
    Row("TLS_NAME", "host", "Name in its certificate, where that is not the address.", v.HOST, example="pve1.lan"),
)


HOSTS_ROW = Row(
    "HOSTS",
    "host",
    "Addresses of a cluster of PVE_CLUSTERS; the first that answers is asked.",
    v.HOSTS,
    example="192.0.2.11,192.0.2.12",
)
SHORT_FORM = "PROXMOX_"
PVE_PRIMARY = "PVE_CLUSTER_PRIMARY_"
PBS_PRIMARY = "PBS_CLUSTER_PRIMARY_"


def host_rows(prefix: str, group: str = "host") -> tuple[Row, ...]:
    """HOST_ROWS behind a prefix; the short form has always said VERIFY_TLS."""
    named = (
        row if prefix != SHORT_FORM or row.key != "VERIFY_SSL" else replace(row, key="VERIFY_TLS") for row in HOST_ROWS
    )
    return tuple(replace(row, key=prefix + row.key, group=group) for row in named)


def _short_form() -> tuple[Row, ...]:
    host, *rest = host_rows(SHORT_FORM, "one host")
    port = Row("PROXMOX_PORT", "one host", "Port of its API.", v.PORT, unset="the one in PROXMOX_HOST, else 8006")
    site = Row("PROXMOX_SITE", "one host", "Name of this site on MQTT: proxmox/<site>/….", v.TEXT, "pve")
    return (host, port, *rest, site)


_NAMES = v.words(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", "a node's short name", hint="use letters, digits, - and _")

FIXED: tuple[Row, ...] = (
    *_short_form(),
    Row(
        "LAB_CONFIGURATION",
        "lab",
        "STANDALONE reads PVE_NODES and PBS_NODES, CLUSTERED the cluster settings, MIXED both.",
        v.choice("STANDALONE", "CLUSTERED", "MIXED"),
        unset="MIXED",
    ),
    Row("PVE_NODES", "lab", "Proxmox VE hosts, each a site of its own.", _NAMES, example="pve1,pve2"),
    Row("PBS_NODES", "lab", "Backup Servers, each a site of its own (port 8007).", _NAMES, example="pbs1"),
    Row("PVE_CLUSTER_NAME", "cluster", "Name of the cluster on MQTT: proxmox/<name>/….", v.TEXT, example="lab"),
    *host_rows(PVE_PRIMARY, "cluster"),
    Row(
        "PVE_CLUSTER_SUBNODES",
        "cluster",
        "Further nodes to ask when the first is away, each with N_HOST; nodes that the cluster names are found anyway.",
        _NAMES,
        example="pve2,pve3",
    ),
    Row("PVE_CLUSTERS", "cluster", "Several clusters by name, each with its N_HOSTS.", _NAMES, example="site1,site2"),
    Row("PBS_CLUSTER_NAME", "cluster", "Name of the Backup Server on MQTT.", v.TEXT, example="backup"),
    *host_rows(PBS_PRIMARY, "cluster"),
    Row(
        "PROXMOX_TIMEOUT",
        "API",
        "Deadline of one action or read of a tool.",
        v.duration(1, 600, plain="ms"),
        "30000",
        into="api.timeout",
    ),
    Row("PROXMOX_RETRY_ATTEMPTS", "API", "Attempts of a read.", v.integer(1, 10), "3", into="api.retry_attempts"),
    Row(
        "PROXMOX_RETRY_DELAY",
        "API",
        "Pause before the second attempt; it doubles.",
        v.duration(0, 60, plain="ms"),
        "1000",
        into="api.retry_delay",
    ),
    Row(
        "PROXMOX_RATE_LIMIT",
        "API",
        "Calls per minute and host that tools may make.",
        v.integer(1, 100_000),
        "100",
        into="api.rate_limit",
    ),
    Row(
        "POLL_INTERVAL",
        "API",
        "How often the state is read; Proxmox refreshes it every 10 s.",
        v.duration(0.2, 3600),
        "10",
        into="api.poll_interval",
    ),
    Row(
        "POLL_TASKS_INTERVAL",
        "API",
        "How often the task list is read.",
        v.duration(0.2, 3600),
        "3",
        into="api.poll_tasks_interval",
    ),
    Row(
        "POLL_DETAILS_BUDGET",
        "API",
        "Calls per minute and site for details of single guests, running ones first.",
        v.integer(0, 100_000),
        "120",
        into="api.poll_details_budget",
    ),
    Row(
        "POLL_SLOW_INTERVAL",
        "API",
        "How often disks, updates and certificates are read.",
        v.duration(10, 7 * 86400),
        "1h",
        into="api.poll_slow_interval",
    ),
    Row(
        "DISK_SMART",
        "API",
        "Physical disks whose SMART figures are read: ssd leaves those alone that may sleep, since asking wakes them; "
        "off reads no disks and ZFS pools at all.",
        v.choice("off", "ssd", "all"),
        "ssd",
        into="api.disk_smart",
    ),
    Row(
        "MCP_ALLOW",
        "permission",
        "What MCP tools may do; each level includes those before it.",
        v.choice(*LEVELS),
        "read",
    ),
    Row(
        "DISCORD_ALLOW",
        "permission",
        "What members with a role of DISCORD_IN_ROLES may do by commands in Discord.",
        v.choice(*LEVELS),
        "read",
        into="permission.discord_allow",
    ),
    Row(
        "MQTT_ALLOW",
        "permission",
        "What commands over MQTT may do; with read, no command topic is listened to.",
        v.choice(*LEVELS),
        "read",
    ),
    Row("MQTT_COMMANDS", "permission", "true is MQTT_ALLOW=operate.", v.BOOLEAN, "false"),
    Row("PROXMOX_ALLOW_ELEVATED", "permission", "true is MCP_ALLOW=exec: everything.", v.BOOLEAN, "false"),
    Row(
        "PROXMOX_NODE_ALLOWLIST",
        "permission",
        "Nodes that may be acted on.",
        _NAMES,
        unset="all",
        into="permission.node_allowlist",
    ),
    Row(
        "PROXMOX_VMID_ALLOWLIST",
        "permission",
        "Guests that may be acted on.",
        v.VMIDS,
        unset="all",
        into="permission.vmid_allowlist",
        example="100,200-299",
    ),
    Row(
        "PROXMOX_POOL_ALLOWLIST",
        "permission",
        "Pools whose guests may be acted on.",
        v.words(r"[A-Za-z0-9/._-]{1,256}", "a pool's name"),
        unset="all",
        into="permission.pool_allowlist",
    ),
    Row(
        "PROXMOX_PROTECTED_TAGS",
        "permission",
        "Guests with such a tag may be started, not taken down.",
        v.words(r"[A-Za-z0-9_][A-Za-z0-9_+.-]*", "a tag"),
        into="permission.protected_tags",
    ),
    Row(
        "PROXMOX_PROTECTED_POOLS",
        "permission",
        "Guests in such a pool may be started, not taken down.",
        v.words(r"[A-Za-z0-9/._-]{1,256}", "a pool's name"),
        into="permission.protected_pools",
    ),
    Row(
        "PROXMOX_SELF_GUESTS",
        "permission",
        "Guests that this program, the broker or Home Assistant run in: never stopped without approval.",
        v.VMIDS,
        into="permission.self_guests",
    ),
    Row(
        "SITE_SHUTDOWN",
        "permission",
        "Whether a whole site may be shut down on command over MQTT, without approval (docs/shutdown.md).",
        v.BOOLEAN,
        "false",
        into="permission.site_shutdown",
    ),
    Row(
        "MAINTENANCE_EVACUATE",
        "permission",
        "Whether maintenance of a node may also migrate its running guests away (docs/commands.md).",
        v.BOOLEAN,
        "false",
        into="permission.maintenance_evacuate",
    ),
    Row(
        "APPROVAL_REQUIRED",
        "permission",
        "Risks that need a person's approval (docs/approvals.md).",
        v.choices(*LEVELS[1:], none=True),
        "destroy,exec",
        into="permission.approval_required",
    ),
    Row(
        "IMAGE_URL_ALLOWLIST",
        "permission",
        "Web hosts that Proxmox may be told to download images from, by https; *.example.org is all below it.",
        v.WEB_HOSTS,
        unset="none: the tool is hidden",
        into="permission.image_url_allowlist",
        example="cloud.debian.org,cloud-images.ubuntu.com",
    ),
    *APPROVAL_ROWS,
    Row(
        "MQTT_HOST",
        "MQTT",
        "The broker; it may carry a port.",
        v.HOST_PORT,
        unset="a broker of our own is started",
        example="192.0.2.20",
    ),
    Row("MQTT_PORT", "MQTT", "Its port.", v.PORT, unset="1883, with TLS 8883"),
    Row("MQTT_USERNAME", "MQTT", "User at the broker.", v.TEXT, into="mqtt.username"),
    Row("MQTT_PASSWORD", "MQTT", "Password at the broker.", v.TEXT, into="mqtt.password", secret=True),
    Row("MQTT_TLS", "MQTT", "Whether the connection is encrypted.", v.BOOLEAN, "false", into="mqtt.tls"),
    Row("MQTT_CA_FILE", "MQTT", "CA of the broker's certificate.", v.EXISTING_FILE, into="mqtt.ca_file"),
    Row("MQTT_CERT_FILE", "MQTT", "Certificate to show to the broker.", v.EXISTING_FILE, into="mqtt.cert_file"),
    Row("MQTT_KEY_FILE", "MQTT", "Key of that certificate.", v.EXISTING_FILE, into="mqtt.key_file"),
    Row("MQTT_TRANSPORT", "MQTT", "How to connect.", v.choice("tcp", "websockets"), "tcp", into="mqtt.transport"),
    Row("MQTT_PROTOCOL", "MQTT", "MQTT version.", v.choice("auto", "5", "3.1.1"), "auto", into="mqtt.protocol"),
    Row("MQTT_CLIENT_ID", "MQTT", "Client id; a random suffix is added.", v.NAME, into="mqtt.client_id"),
    Row("MQTT_BASE_TOPIC", "MQTT", "What every topic begins with.", v.TOPIC, "proxmox", into="mqtt.base_topic"),
    Row(
        "MQTT_EMBEDDED_BIND",
        "MQTT",
        "Address at which our own broker (Mosquitto only) listens for others.",
        v.HOST,
        unset="this machine only",
        into="mqtt.embedded_bind",
        example="0.0.0.0",  # noqa: S104 - shown as an example
    ),
    Row(
        "MQTT_EMBEDDED_PORT",
        "MQTT",
        "Port of our own broker, or the next free one; 0 is any.",
        v.LISTEN_PORT,
        "1883",
        into="mqtt.embedded_port",
    ),
    Row("MCP_HTTP_HOST", "MCP", "Address that MCP over HTTP listens on.", v.HOST, "127.0.0.1", into="mcp.host"),
    Row("MCP_HTTP_PORT", "MCP", "Its port; 0 is any free one.", v.LISTEN_PORT, "8080", into="mcp.port"),
    Row(
        "MCP_AUTH_TOKEN",
        "MCP",
        "Bearer token of MCP clients, of at least 16 characters; required beyond this machine.",
        v.TOKEN,
        into="mcp.auth_token",
        secret=True,
    ),
    Row(
        "MCP_TOKENS_FILE",
        "MCP",
        "Further named tokens, each with level, tools and allow-lists of its own; `proxmox-mcp token` writes it.",
        TOKENS,
        into="mcp.tokens",
        example="tokens.json",
    ),
    Row(
        "PROXMOX_MCP_TOKEN",
        "MCP",
        "For `proxmox-mcp stdio --connect URL`: the token of the server there.",
        v.TOKEN,
        secret=True,
    ),
    Row(
        "MCP_CA_FILE",
        "MCP",
        "For the same: the CA of that server's certificate, or the certificate itself, where no public CA signed it.",
        v.EXISTING_FILE,
    ),
    Row(
        "MCP_ALLOWED_HOSTS",
        "MCP",
        "Host names under which MCP clients may reach it, beside this machine's own.",
        v.HOST_HEADERS,
        into="mcp.allowed_hosts",
        example="mcp.example.org:8080",
    ),
    Row(
        "MCP_ALLOWED_ORIGINS",
        "MCP",
        "Web origins that may call it.",
        v.ORIGINS,
        into="mcp.allowed_origins",
        example="https://n8n.example.org",
    ),
    Row(
        "MCP_TOOLSETS",
        "MCP",
        "Sets of tools, or all.",
        v.choices(*TOOLSETS, "all"),
        "core,power,snapshots,backups,guest,notify",
    ),
    Row(
        "MCP_TOOL_PREFIX",
        "MCP",
        "Put before every tool's name.",
        v.matching(r"[A-Za-z0-9_-]{1,32}", "made of letters, digits, _ and - (at most 32)", "text"),
        into="mcp.tool_prefix",
    ),
    Row(
        "MCP_SESSION_IDLE",
        "MCP",
        "A session that is idle for so long is closed.",
        v.duration(10, 86400),
        "5m",
        into="mcp.session_idle",
    ),
    *EVENT_ROWS,
    *NOTIFY_ROWS,
    Row(
        "HA_DISCOVERY",
        "Home Assistant",
        "Whether Home Assistant is told of all devices (docs/homeassistant.md).",
        v.BOOLEAN,
        "true",
        into="homeassistant.discovery",
    ),
    Row(
        "HA_DISCOVERY_PREFIX",
        "Home Assistant",
        "The discovery prefix, as set in Home Assistant's MQTT integration.",
        v.TOPIC,
        "homeassistant",
        into="homeassistant.prefix",
    ),
    Row(
        "HA_ENTITIES",
        "Home Assistant",
        "Entities to create and switch on, or with ! not to create, by globs; the last one that fits decides.",
        v.words(
            r"!?(?:[a-z*?\[\]]+/)(?:[^/,!]+/)?[a-z0-9_*?\[\]]+",
            "an entity",
            hint="write kind/key or kind/thing/key, for example guest/ip or !storage/*/used",
        ),
        unset="as in docs/homeassistant.md",
        into="homeassistant.entities",
        example="guest/ip,!storage/*,guest/web*/snapshot",
    ),
    Row(
        "LOG_LEVEL",
        "general",
        "Least severity that is logged.",
        v.choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", aliases={"warn": "WARNING"}),
        "INFO",
        into="general.log_level",
    ),
    Row("LOG_FORMAT", "general", "Form of the log.", v.choice("text", "json"), "text", into="general.log_format"),
    Row("LOG_FILE", "general", "File to log to, rotated.", v.PATH, unset="standard error", into="general.log_file"),
    Row(
        "STATE_DIR",
        "general",
        "Folder for what must survive a restart (mode 0700).",
        v.PATH,
        unset="the platform's state folder, on Linux ~/.local/state/proxmox-mcp",
        into="general.state_dir",
    ),
    Row("BRIDGE_NAME", "general", "Name of this bridge on MQTT.", v.NAME, "main", into="general.bridge_name"),
    Row("VERIFY_SSL", "general", "Whether certificates are checked, unless a host says otherwise.", v.BOOLEAN, "true"),
    Row(
        "METRICS_MAX_AGE",
        "general",
        "Metrics that hardly change are published again after this.",
        v.duration(1, 86400),
        "300",
        into="general.metrics_max_age",
    ),
    Row(
        "PROXMOX_LAB_CONTROL",
        "general",
        "Where a running lab takes faults; `proxmox-mcp lab` prints it.",
        v.URL,
        into="general.lab_control",
    ),
)

TABLE: tuple[Row, ...] = FIXED + LATER
ROWS: dict[str, Row] = {row.key: row for row in TABLE}
SECRET_KEYS: frozenset[str] = frozenset(row.key for row in TABLE if row.secret)
KEYS: frozenset[str] = frozenset(ROWS) | {key + SECRET_FILE for key in SECRET_KEYS}

# A key of the .env file that begins so and is not in the table is a typing error; such a word is no node's name.
FAMILIES: frozenset[str] = frozenset({"PROXMOX_", "MQTT_", "MCP_", "EVENT_", "POLL_", "APPROVAL_", "NOTIFY_"})
