"""Metric servers. InfluxDB is pushed to; Graphite and OpenTelemetry are only kept."""

from __future__ import annotations

from typing import Any

from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, bad_parameters
from proxmox_mcp.lab.push import loopback
from proxmox_mcp.lab.push.metrics import MetricServer
from proxmox_mcp.lab.push.model import PushError


def servers(call: Call) -> list[dict[str, Any]]:
    return [one.row for one in call.world.metric_servers.values()]


def _find(call: Call) -> MetricServer:
    found = call.world.metric_servers.get(call.params["id"])
    if found is None:
        raise ApiError(500, f"status server entry '{call.params['id']}' does not exist")
    return found


def server(call: Call) -> dict[str, Any]:
    return dict(_find(call).values)


async def add(call: Call) -> None:
    """Take it once it was reached; one that is disabled is not tried."""
    if call.params["id"] in call.world.metric_servers:
        raise ApiError(500, f"Metric server '{call.params['id']}' already exists")
    await _keep(call, MetricServer(call.params["id"], {}))


async def update(call: Call) -> None:
    old = _find(call)
    gone = call.params.pop("delete", "").replace(";", ",").split(",")
    kept = {key: value for key, value in old.values.items() if key not in gone}
    await _keep(call, MetricServer(old.ident, kept, "" if "token" in gone else old.token))


async def _keep(call: Call, new: MetricServer) -> None:
    given = {key: value for key, value in call.params.items() if key not in ("id", "digest", "token")}
    new.values |= given
    new.token = call.params.get("token", new.token)
    try:
        loopback.require(new.values["server"])
        if not new.values.get("disable"):
            await call.world.metrics.check(new)
    except loopback.NotLoopbackError as error:
        raise bad_parameters({"server": str(error)}) from error
    except PushError as error:
        raise ApiError(500, str(error)) from error
    call.world.metric_servers[new.ident] = new
    call.world.metrics.wake.set()


def delete(call: Call) -> None:
    del call.world.metric_servers[_find(call).ident]


def export(_call: Call) -> dict[str, Any]:
    return {"data": []}


ROUTES: tuple[Route, ...] = (
    ("GET", "/cluster/metrics/server", servers),
    ("GET", "/cluster/metrics/server/{id}", server),
    ("POST", "/cluster/metrics/server/{id}", add),
    ("PUT", "/cluster/metrics/server/{id}", update),
    ("DELETE", "/cluster/metrics/server/{id}", delete),
    ("GET", "/cluster/metrics/export", export),
)
