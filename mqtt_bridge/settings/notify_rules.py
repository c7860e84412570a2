"""What the notifiers' settings demand of one another."""

from mqtt_bridge.settings.assemble_notify import enabled_notifiers
from mqtt_bridge.settings.notify_rows import NOTIFIERS
from mqtt_bridge.settings.sources import Report, Sources

_NEEDED = {
    "DISCORD_OUT": ("DISCORD_OUT_WEBHOOK_URL",),
    "GOTIFY_OUT": ("GOTIFY_OUT_SERVER_URL", "GOTIFY_OUT_APP_TOKEN"),
    "NTFY": ("NTFY_TOPIC",),
    "EMAIL": ("NOTIFY_EMAIL_SERVER", "NOTIFY_EMAIL_TO"),
    "WEBHOOK": ("WEBHOOK_OUT_URL",),
    "APPRISE": ("APPRISE_URLS",),
}


def notifiers(sources: Sources, report: Report) -> None:
    """What is missing of the notifiers that run."""
    running = enabled_notifiers(sources)
    for name in (name for name in NOTIFIERS if name in running):
        for key in _NEEDED[name]:
            if not sources.has(key):
                report.problem(key, f"is missing, and the notifier {name} needs it: write it, or take {name} out.")
    if "EMAIL" in running and not any(sources.has(key) for key in ("NOTIFY_EMAIL_FROM", "NOTIFY_EMAIL_USERNAME")):
        report.problem("NOTIFY_EMAIL_FROM", "is missing: mail needs a sender.")
    if sources.has("NOTIFY_EMAIL_PASSWORD") and not sources.has("NOTIFY_EMAIL_USERNAME"):
        report.problem("NOTIFY_EMAIL_USERNAME", "is missing, while NOTIFY_EMAIL_PASSWORD is set.")
