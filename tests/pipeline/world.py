"""What the inventories would know."""

from collections.abc import Sequence
from functools import cache

from mqtt_bridge.events.intake import Report
from mqtt_bridge.model import GuestState, NodeState
from mqtt_bridge.severity import Trust
from mqtt_bridge.wording.verdict import Verdict


class FixedWorld:
    """Two sites unless said: `lab` with pve1 and 100, 101; `other` with pve1, pve9 and 100, 900."""

    def __init__(self, *sites: str) -> None:
        self.sites: Sequence[str] = sites or ("lab", "other")
        self.nodes = {"lab": ("pve1", "PVE-Two"), "other": ("pve1", "pve9")}
        self.addresses = {
            "10.0.0.1": ("lab", "pve1"),
            "10.0.0.2": ("lab", "PVE-Two"),
            "10.0.9.9": ("other", "pve9"),
            "127.0.0.1": ("lab", "pve1"),
        }
        self.guests = {"lab": (100, 101), "other": (100, 900)}

    def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]:
        if node:
            return [site for site in self.sites if self.node_name(site, node)]
        return [site for site in self.sites if guest in self.guests[site]]

    def guest(self, site: str, vmid: int) -> GuestState | None:
        return _guest(site, vmid) if vmid in self.guests[site] else None

    def node(self, site: str, name: str) -> NodeState | None:
        return _node(site, name) if self.node_name(site, name) else None

    def node_name(self, site: str, host: str) -> str | None:
        return next((name for name in self.nodes[site] if name.casefold() == host.casefold()), None)

    def node_at(self, address: str) -> tuple[str, str] | None:
        return self.addresses.get(address)


@cache
def _guest(site: str, vmid: int) -> GuestState:
    return GuestState(
        site=site, vmid=vmid, type="qemu", name=f"web{vmid}", node="pve1", status="stopped", available=True,
        tags=("prod",), stopped_by="root@pam",
    )  # fmt: skip


@cache
def _node(site: str, name: str) -> NodeState:
    return NodeState(site=site, node=name, status="online", available=True)


def report(
    identity: str = "1",
    kind: str = "backup.job.failed",
    *,
    trust: Trust = "authenticated",
    site: str | None = None,
    at: float | None = None,
    **verdict: object,
) -> Report:
    what = {"severity": "error", "node": "pve1", "ok": False, "title": "Backup failed", **verdict}
    return Report(identity, Verdict(kind=kind, **what), trust, at=at, site=site)  # type: ignore[arg-type]
