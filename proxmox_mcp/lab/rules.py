"""Firewalls, replication jobs and HA rules: what is only read in this lab, and set up by whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .world import World

CLUSTER = "cluster"


@dataclass(slots=True)
class Firewall:
    """Of the cluster, a node or a guest. `log` has (time, line)."""

    rules: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    log: list[tuple[float, str]] = field(default_factory=list)


@dataclass(slots=True)
class Replication:
    """A job, and how its last run went."""

    ident: str
    target: str
    schedule: str = "*/15"
    comment: str = ""
    disabled: bool = False
    last_sync: int = 0
    duration: float = 0.0
    fail_count: int = 0
    error: str = ""

    @property
    def vmid(self) -> int:
        return int(self.ident.partition("-")[0])


def rule(action: str, **more: Any) -> dict[str, Any]:
    """Make an inbound rule that is on; its position comes from its place."""
    return {"type": "in", "action": action, "enable": 1} | more


def seed(world: World) -> None:
    """The cluster lets the administrators in; one web server is open."""
    world.firewalls[CLUSTER] = Firewall(
        [
            rule("ACCEPT", macro="SSH", source="192.0.2.0/24", comment="administrators"),
            rule("ACCEPT", proto="tcp", dport="8006", source="192.0.2.0/24"),
            rule("DROP", log="info", comment="the rest") | {"enable": 0},
        ],
        {"enable": 1, "policy_in": "DROP", "policy_out": "ACCEPT"},
    )
    web = next((guest for guest in world.sorted_guests() if guest.kind == "qemu" and guest.pool == "prod"), None)
    if web is not None:
        world.firewalls[f"guest/{web.vmid}"] = Firewall(
            [rule("ACCEPT", macro="HTTPS"), rule("ACCEPT", macro="HTTP")], {"enable": 1, "policy_in": "DROP"}
        )
