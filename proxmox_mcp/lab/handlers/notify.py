"""Notification targets and matchers of a cluster."""

from __future__ import annotations

from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.push.routes import routes

PREFIX = "/cluster/notifications"
FIELDS = ("hostname", "job-id", "type")
TYPES = ("fencing", "package-updates", "replication", "system-mail", "vzdump")


def index(_call: Call) -> list[dict[str, str]]:
    return [{"name": name} for name in ("endpoints", "matchers", "targets", "matcher-fields", "matcher-field-values")]


def endpoints(_call: Call) -> list[dict[str, str]]:
    return [{"name": name} for name in ("gotify", "sendmail", "smtp", "webhook")]


def values(call: Call) -> list[dict[str, str]]:
    """What notifications of this cluster can have in their fields."""
    known = (("type", TYPES), ("hostname", tuple(call.world.nodes)), ("job-id", tuple(call.world.backup_jobs)))
    return [{"field": name, "value": one} for name, several in known for one in several]


ROUTES: tuple[Route, ...] = (
    ("GET", PREFIX, index),
    ("GET", f"{PREFIX}/endpoints", endpoints),
    ("GET", f"{PREFIX}/matcher-field-values", values),
    *routes(PREFIX, int, FIELDS),
)
