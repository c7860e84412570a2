"""Notification targets and metric servers."""

from __future__ import annotations

from typing import Any

from proxmox_mcp.lab.call import Call, Route


def notification_index(_call: Call) -> list[dict[str, str]]:
    return [{"name": name} for name in ("endpoints", "matchers", "targets", "matcher-fields", "matcher-field-values")]


def endpoints(_call: Call) -> list[dict[str, str]]:
    return [{"name": name} for name in ("gotify", "sendmail", "smtp", "webhook")]


def targets(_call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": "mail-to-root",
            "type": "sendmail",
            "origin": "builtin",
            "comment": "Send mails to root@pam's email address",
        }
    ]


def matchers(_call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": "default-matcher",
            "mode": "all",
            "target": ["mail-to-root"],
            "origin": "builtin",
            "comment": "Route all notifications to mail-to-root",
        }
    ]


def metric_servers(call: Call) -> list[dict[str, Any]]:
    return list(call.world.metric_servers.values())


def add_metric_server(call: Call) -> None:
    row = call.params
    call.world.metric_servers[row["id"]] = {
        "id": row["id"],
        "type": row["type"],
        "server": row["server"],
        "port": row["port"],
        "disable": row.get("disable", 0),
    }


def metric_export(_call: Call) -> dict[str, Any]:
    return {"data": []}


ROUTES: tuple[Route, ...] = (
    ("GET", "/cluster/notifications", notification_index),
    ("GET", "/cluster/notifications/endpoints", endpoints),
    ("GET", "/cluster/notifications/targets", targets),
    ("GET", "/cluster/notifications/matchers", matchers),
    ("GET", "/cluster/metrics/server", metric_servers),
    ("POST", "/cluster/metrics/server/{id}", add_metric_server),
    ("GET", "/cluster/metrics/export", metric_export),
)
