"""Firewalls with their logs, replication, HA rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.rules import CLUSTER, Firewall

from .cluster import EMPTY_DIGEST
from .kinds import both
from .tasks import numbered

if TYPE_CHECKING:
    from proxmox_mcp.lab.call import Call, Page, Route
    from proxmox_mcp.lab.rules import Replication

NO_LOG = "unable to open file - No such file or directory"


def _firewall(call: Call) -> Firewall:
    """Of what the path is about; an unknown node or guest is an error."""
    if "vmid" in call.params:
        key = f"guest/{call.guest.vmid}"
    else:
        key = f"node/{call.node.name}" if "node" in call.params else CLUSTER
    return call.world.firewalls.get(key) or Firewall()


def rules(call: Call) -> list[dict[str, Any]]:
    return [{"pos": pos} | row for pos, row in enumerate(_firewall(call).rules)]


def options(call: Call) -> dict[str, Any]:
    return _firewall(call).options | {"digest": EMPTY_DIGEST}


def groups(_call: Call) -> list[Any]:
    return []


def log(call: Call) -> Page:
    since, until = call.params.get("since", 0), call.params.get("until", float("inf"))
    lines = [text for at, text in _firewall(call).log if since <= at <= until]
    return numbered(lines or [NO_LOG], call.params.get("start", 0), call.params.get("limit", 50))


def jobs(call: Call) -> list[dict[str, Any]]:
    """Jobs of guests that one may audit."""
    return [_job(job) for job in call.world.replication.values() if call.may(f"/vms/{job.vmid}", "VM.Audit")]


def _job(job: Replication) -> dict[str, Any]:
    row = {
        "id": job.ident,
        "guest": job.vmid,
        "jobnum": int(job.ident.partition("-")[2]),
        "type": "local",
        "target": job.target,
        "schedule": job.schedule,
    }
    return row | ({"comment": job.comment} if job.comment else {}) | ({"disable": 1} if job.disabled else {})


def runs(call: Call) -> list[dict[str, Any]]:
    """How the jobs of this node's guests run."""
    world = call.world
    return [
        _job(job)
        | {
            "vmtype": world.guests[job.vmid].kind,
            "last_sync": job.last_sync,
            "last_try": job.last_sync,
            "next_sync": job.last_sync + 900,
            "duration": job.duration,
            "fail_count": job.fail_count,
        }
        | ({"error": job.error} if job.error else {})
        for job in world.replication.values()
        if job.vmid in world.guests
        and world.guests[job.vmid].node == call.node.name
        and call.may(f"/vms/{job.vmid}", "VM.Audit")
    ]


def ha_rules(call: Call) -> list[dict[str, Any]]:
    return [{"digest": EMPTY_DIGEST} | row for row in call.world.ha_rules]


ROUTES: tuple[Route, ...] = (
    ("GET", "/cluster/firewall/rules", rules),
    ("GET", "/cluster/firewall/options", options),
    ("GET", "/cluster/firewall/groups", groups),
    ("GET", "/nodes/{node}/firewall/rules", rules),
    ("GET", "/nodes/{node}/firewall/options", options),
    ("GET", "/nodes/{node}/firewall/log", log),
    *both("GET", "/{vmid}/firewall/rules", rules),
    *both("GET", "/{vmid}/firewall/options", options),
    *both("GET", "/{vmid}/firewall/log", log),
    ("GET", "/cluster/replication", jobs),
    ("GET", "/nodes/{node}/replication", runs),
    ("GET", "/cluster/ha/rules", ha_rules),
)
