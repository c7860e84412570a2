"""Settings that depend on one another: one function for each matter, in one table."""

from collections.abc import Callable
from hashlib import sha256

from mqtt_bridge.settings.approval_rows import approvals
from mqtt_bridge.settings.event_rules import listeners
from mqtt_bridge.settings.local import is_loopback
from mqtt_bridge.settings.notify_rules import notifiers
from mqtt_bridge.settings.sources import Report, Sources
from mqtt_bridge.settings.table import FIXED, ROWS

MIN_TOKEN = 16
_BROKER_ALWAYS = frozenset(
    {"MQTT_HOST", "MQTT_BASE_TOPIC", "MQTT_CLIENT_ID", "MQTT_PROTOCOL", "MQTT_EMBEDDED_BIND", "MQTT_EMBEDDED_PORT"}
)


def _verification(sources: Sources, report: Report) -> None:
    if sources.value(ROWS["VERIFY_SSL"]) is False:
        report.warning(
            "VERIFY_SSL=false: certificates are not checked, so anyone in the network can pose as Proxmox and read the "
            "token. Pin them instead: `proxmox-mcp check` shows the lines."
        )


def _elevation(sources: Sources, report: Report) -> None:
    said = sources.has("MCP_ALLOW") and sources.value(ROWS["MCP_ALLOW"])
    if sources.value(ROWS["PROXMOX_ALLOW_ELEVATED"]) and said and said != "exec":
        report.problem("PROXMOX_ALLOW_ELEVATED", f"is true, but MCP_ALLOW={said} says otherwise: keep one of them.")


def _commands(sources: Sources, report: Report) -> None:
    level = sources.has("MQTT_ALLOW") and sources.value(ROWS["MQTT_ALLOW"])
    said = sources.has("MQTT_COMMANDS") and sources.value(ROWS["MQTT_COMMANDS"])
    if level and sources.has("MQTT_COMMANDS") and said is not None and said != (level != "read"):
        told = "true" if said else "false"
        report.problem("MQTT_COMMANDS", f"is {told}, but MQTT_ALLOW={level} says otherwise: keep one of them.")


def _evacuation(sources: Sources, report: Report) -> None:
    if sources.value(ROWS["MAINTENANCE_EVACUATE"]) and sources.value(ROWS["MQTT_ALLOW"]) in {"read", "operate", None}:
        report.warning(
            "MAINTENANCE_EVACUATE=true: not used, because guests are migrated only with MQTT_ALLOW=change or more "
            "(docs/commands.md)."
        )


def _site_shutdown(sources: Sources, report: Report) -> None:
    if sources.value(ROWS["SITE_SHUTDOWN"]) and sources.value(ROWS["MQTT_ALLOW"]) not in {"destroy", "exec"}:
        report.warning("SITE_SHUTDOWN=true: not used, because the command needs MQTT_ALLOW=destroy (docs/shutdown.md).")


def _broker(sources: Sources, report: Report) -> None:
    host = sources.value(ROWS["MQTT_HOST"])
    remote = [row.key for row in FIXED if row.group == "MQTT" and row.key not in _BROKER_ALWAYS]
    own = ["MQTT_EMBEDDED_BIND", "MQTT_EMBEDDED_PORT"]
    unused = [key for key in (own if sources.has("MQTT_HOST") else remote) if sources.has(key)]
    if unused:
        why = "MQTT_HOST is set" if sources.has("MQTT_HOST") else "MQTT_HOST is not set, so a broker of our own is used"
        report.warning(f"{', '.join(unused)}: not used, because {why}.")
    port = sources.value(ROWS["MQTT_PORT"])
    if host and host[1] and port and host[1] != port:
        report.problem("MQTT_PORT", "is another port than the one in MQTT_HOST: keep one of them.")
    if sources.has("MQTT_PASSWORD") and not sources.has("MQTT_USERNAME"):
        report.problem("MQTT_USERNAME", "is missing, while MQTT_PASSWORD is set: write the user it belongs to.")


def _broker_tls(sources: Sources, report: Report) -> None:
    tls = sources.value(ROWS["MQTT_TLS"])
    files = [key for key in ("MQTT_CA_FILE", "MQTT_CERT_FILE", "MQTT_KEY_FILE") if sources.has(key)]
    if files and not tls:
        report.problem("MQTT_TLS", f"is not true, but {files[0]} is set: write MQTT_TLS=true, or take that out.")
    pair = [key for key in files if key != "MQTT_CA_FILE"]
    if len(pair) == 1:
        missing = ({"MQTT_CERT_FILE", "MQTT_KEY_FILE"} - set(pair)).pop()
        report.problem(missing, f"is missing: a certificate and its key go together, and {pair[0]} is set.")


def _listening(sources: Sources, report: Report) -> None:
    host = sources.value(ROWS["MCP_HTTP_HOST"])
    token = sources.value(ROWS["MCP_AUTH_TOKEN"])
    named = sources.value(ROWS["MCP_TOKENS_FILE"])
    if token and any(t.digest == sha256(token.encode()).hexdigest() for t in named or ()):
        report.problem("MCP_AUTH_TOKEN", "is in MCP_TOKENS_FILE too: a token has one owner, so take it out of one.")
    if not host or is_loopback(host) or not sources.invalid.isdisjoint({"MCP_AUTH_TOKEN", "MCP_TOKENS_FILE"}):
        return
    if not token and not named:
        report.problem(
            "MCP_AUTH_TOKEN",
            f"is missing: MCP_HTTP_HOST={host} is reachable from other machines. Write a long random token, for "
            "example from `openssl rand -hex 32`, or take MCP_HTTP_HOST out.",
        )
    elif token and len(token) < MIN_TOKEN:
        report.problem("MCP_AUTH_TOKEN", f"is shorter than {MIN_TOKEN} characters: take `openssl rand -hex 32`.")


RULES: tuple[Callable[[Sources, Report], None], ...] = (
    _verification,
    _elevation,
    _commands,
    _site_shutdown,
    _evacuation,
    _broker,
    _broker_tls,
    _listening,
    listeners,
    notifiers,
    approvals,
)
