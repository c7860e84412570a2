"""What the listeners' settings demand of one another."""

from mqtt_bridge.settings.event_rows import EVENT_ROWS, LISTENERS
from mqtt_bridge.settings.local import is_loopback
from mqtt_bridge.settings.sources import Report, Sources

_ROWS = {row.key: row for row in EVENT_ROWS}
_NEEDED = {
    "EMAIL": ("EVENT_EMAIL_IMAP_SERVER", "EVENT_EMAIL_USERNAME", "EVENT_EMAIL_PASSWORD"),
    "GOTIFY_IN": ("GOTIFY_IN_SERVER_URL", "GOTIFY_IN_CLIENT_TOKEN"),
    "DISCORD_IN": ("DISCORD_IN_BOT_TOKEN", "DISCORD_IN_CHANNELS"),
}
_GUARDS = {  # listeners that others can reach: what has to say who may send
    "SMTP": ("EVENT_SMTP_ALLOWED_SOURCES", "EVENT_SMTP_USERNAME"),
    "SYSLOG": ("EVENT_SYSLOG_ALLOWED_SOURCES",),
    "WEBHOOK": ("EVENT_WEBHOOK_TOKEN",),
    "METRICS": ("EVENT_METRICS_TOKEN",),
}
_TOKENS = ("EVENT_WEBHOOK_TOKEN", "EVENT_METRICS_TOKEN")
_MIN_TOKEN = 16


def listeners(sources: Sources, report: Report) -> None:
    """What is missing of the listeners that run, and who could reach them."""
    from mqtt_bridge.settings.assemble import enabled  # noqa: PLC0415 -- it reads the values, this judges them

    running = enabled(sources)
    for name in (name for name in LISTENERS if name in running):
        for key in _NEEDED.get(name, ()):
            if not sources.has(key):
                report.problem(key, f"is missing, and the listener {name} needs it: write it, or take {name} out.")
        _reachable(name, sources, report)
    if sources.has("EVENT_SMTP_USERNAME") != sources.has("EVENT_SMTP_PASSWORD"):
        report.problem("EVENT_SMTP_USERNAME", "and EVENT_SMTP_PASSWORD go together: set both or none.")
    if sources.has("EVENT_WEBHOOK_CERT_FILE") != sources.has("EVENT_WEBHOOK_KEY_FILE"):
        report.problem("EVENT_WEBHOOK_CERT_FILE", "and EVENT_WEBHOOK_KEY_FILE go together: set both or none.")
    warning, error = (sources.value(_ROWS[f"EVENT_WS_STORAGE_{level}"]) for level in ("WARNING", "ERROR"))
    if warning and error and warning > error:
        report.problem("EVENT_WS_STORAGE_WARNING", "is above EVENT_WS_STORAGE_ERROR: exchange them.")


def _reachable(name: str, sources: Sources, report: Report) -> None:
    guards = _GUARDS.get(name, ())
    host = sources.value(_ROWS[f"EVENT_{name}_LISTEN_HOST"]) if guards else None
    if not host or is_loopback(host):
        return
    if not any(sources.has(key) for key in guards):
        report.problem(
            guards[0],
            f"is missing: EVENT_{name}_LISTEN_HOST={host} is reachable from other machines, and nothing says who may "
            f"send. Set {' or '.join(guards)}, or listen on 127.0.0.1.",
        )
    for key in set(guards) & set(_TOKENS):
        token = sources.value(_ROWS[key])
        if token and len(token) < _MIN_TOKEN:
            report.problem(key, f"is shorter than {_MIN_TOKEN} characters: take `openssl rand -hex 32`.")
