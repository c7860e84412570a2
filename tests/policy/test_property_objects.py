"""One forbidden object, in every place where an object can stand, in every action that there is, and nothing is sent.

The samples and the world are those of `tests/control`; `test_property.py` has the same for power in odder worlds.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import Actions, Plan
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import Limits, PermissionSettings, allows
from mqtt_bridge.targets import BackupTarget, DatastoreTarget, GuestTarget, NewGuest, Target, Touched, WebTarget
from mqtt_bridge.whoami import Identity
from tests.control.samples import ORDERS, SAMPLES, Sample, arguments, planned
from tests.control.world import Frozen, Overlay, world

HOSTS = frozenset({"images.example.org"})
OPEN = PermissionSettings(mcp_allow="exec", approval_required=frozenset(), image_url_allowlist=HOSTS)
AGENT = Principal("agent", "stdio", "exec")
ALL_VMIDS = frozenset(range(100, 200)) | {9000}
SPARES = frozenset({"datastore.prune"})  # leaves out what is protected, before it is judged
Guests = GuestTarget | NewGuest | BackupTarget


@dataclass(frozen=True)
class Ban:
    """One object made forbidden by one rule. `says`: a word of the refusal."""

    rule: str
    says: str
    permission: PermissionSettings = OPEN
    principal: Principal = AGENT
    overlay: Overlay | None = None


def limited(**lists: frozenset[Any]) -> Principal:
    return replace(AGENT, limits=Limits(**lists), named=True)


def others(name: str, names: frozenset[str]) -> frozenset[str]:
    return names - {name}


def _place(target: Target) -> Iterator[Ban]:
    sites = frozenset(world().sites) - {target.site}
    yield Ban("the principal's sites", f"site {target.site}", principal=limited(sites=sites))
    if target.node:
        nodes = others(target.node, world().nodes)
        yield Ban("nodes", f"node {target.node}", replace(OPEN, node_allowlist=nodes))
        yield Ban("the principal's nodes", f"node {target.node}", principal=limited(node_allowlist=nodes))


def _guest(target: Guests) -> Iterator[Ban]:
    vmids = ALL_VMIDS - {target.vmid}
    pools = others(target.pool or "", world().pools)
    yield Ban("VMIDs", target.label, replace(OPEN, vmid_allowlist=frozenset(vmids)))
    yield Ban("the principal's VMIDs", target.label, principal=limited(vmid_allowlist=frozenset(vmids)))
    yield Ban("pools", target.label, replace(OPEN, pool_allowlist=pools))
    yield Ban("the principal's pools", target.label, principal=limited(pool_allowlist=pools))


def _harmed(target: GuestTarget | BackupTarget) -> Iterator[Ban]:
    own = {f"T{target.vmid}"} & {tag.upper() for tag in target.tags}
    if own:
        yield Ban("a protected tag", "protected by the tag", replace(OPEN, protected_tags=frozenset(own)))
    if target.pool:
        pools = frozenset({target.pool.upper()})
        yield Ban("a protected pool", "protected by the pool", replace(OPEN, protected_pools=pools))


def _destroyed(target: GuestTarget | BackupTarget) -> Iterator[Ban]:
    if isinstance(target, GuestTarget):
        yield Ban("the protection flag", "protection flag", overlay=_flagged(target.vmid))
    else:
        yield Ban("a backup's protection", "protection flag", overlay=_protected)


def _flagged(vmid: int) -> Overlay:
    def change(segments: tuple[str | int, ...], answer: Any) -> Any:
        return {**answer, "protection": 1} if segments[-2:] == (vmid, "config") else answer

    return change


def _protected(segments: tuple[str | int, ...], answer: Any) -> Any:
    return [{**row, "protected": True} for row in answer] if segments[-1] in {"content", "snapshots"} else answer


def bans(plan: Plan, one: Touched) -> Iterator[Ban]:
    """Every rule by which this object alone can be forbidden to this plan."""
    target = one.target
    hurts = plan.downs or allows(plan.danger, "change")
    if isinstance(target, WebTarget):
        yield Ban("web hosts", "IMAGE_URL_ALLOWLIST", replace(OPEN, image_url_allowlist=frozenset({"example.org"})))
        return
    yield from _place(target)
    if isinstance(target, DatastoreTarget) and target.whole:
        yield Ban("all guests of a datastore", "all guests", replace(OPEN, vmid_allowlist=ALL_VMIDS))
        yield Ban("all pools of a datastore", "all guests", replace(OPEN, pool_allowlist=world().pools))
    if isinstance(target, Guests):
        yield from _guest(target)
    if isinstance(target, GuestTarget | BackupTarget) and one.role in {"write", "destroy"} and hurts:
        yield from _harmed(target)
    if isinstance(target, GuestTarget | BackupTarget) and one.role == "destroy" and plan.row.name not in SPARES:
        yield from _destroyed(target)
    if isinstance(target, GuestTarget) and one.role in {"write", "destroy"} and plan.downs:
        yield Ban("our own guest", "runs on", replace(OPEN, self_guests=frozenset({target.vmid})))


def distinct(plan: Plan) -> list[Ban]:
    """Those of all objects; what several share (a node, the site) once."""
    every = [ban for one in plan.objects for ban in bans(plan, one)]
    return list({(b.permission, b.principal, id(b.overlay) if b.overlay else 0): b for b in every}.values())


@dataclass
class Attempt:
    """One order, and what came of it."""

    action: str
    sample: Sample
    folder: Path
    clients: Mapping[str, Frozen] = field(default_factory=dict)

    def run(self, permission: PermissionSettings = OPEN, who: Principal = AGENT, more: Overlay | None = None) -> None:
        self.clients = world().clients(_both(self.sample.overlay, more))
        asyncio.run(self._run(permission, who))

    async def _run(self, permission: PermissionSettings, who: Principal) -> None:
        actions = Actions(self.clients, permission, Audit(self.folder), me=Identity())
        args = await arguments(self.clients, self.sample)
        await actions.perform(who, self.action, self.sample.target, args=args, timeout=0)

    @property
    def sent(self) -> list[tuple[str, tuple[str | int, ...], dict[str, Any]]]:
        return [call for api in self.clients.values() for call in api.sent]

    @property
    def events(self) -> list[str]:
        lines = (self.folder / "audit.jsonl").read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]


def _both(first: Overlay, second: Overlay | None) -> Overlay:
    return first if second is None else lambda segments, answer: second(segments, first(segments, answer))


def _planned(action: str, sample: Sample) -> Plan:
    return asyncio.run(planned(world().clients(sample.overlay), action, sample))


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_one_forbidden_object_is_enough(action: str, number: int, tmp_path: Path) -> None:
    sample = SAMPLES[action][number]
    plan = _planned(action, sample)
    for place, ban in enumerate(distinct(plan)):
        attempt = Attempt(action, sample, tmp_path / str(place))
        with pytest.raises(PolicyError) as caught:
            attempt.run(ban.permission, ban.principal, ban.overlay)
        assert ban.says in str(caught.value), ban
        assert attempt.sent == [], ban
        assert attempt.events == ["action.refused"], ban


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_what_no_rule_forbids_is_sent(action: str, number: int, tmp_path: Path) -> None:
    """Or the property above would hold for a program that refuses everything."""
    sample = SAMPLES[action][number]
    plan = _planned(action, sample)
    attempt = Attempt(action, sample, tmp_path)
    attempt.run()
    assert attempt.sent[0][:2] == (plan.steps[0].method, plan.steps[0].segments)
    assert attempt.events == ["action.intent", "action.outcome"]


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_lists_that_name_everything_let_it_pass(action: str, number: int, tmp_path: Path) -> None:
    sample = SAMPLES[action][number]
    everything: dict[str, Any] = {"node_allowlist": world().nodes}
    if sample.narrow:
        everything["vmid_allowlist"] = ALL_VMIDS
        pooled = [one.target.pool for one in _planned(action, sample).objects if isinstance(one.target, Guests)]
        everything |= {"pool_allowlist": world().pools} if all(pooled) else {}
    attempt = Attempt(action, sample, tmp_path)
    attempt.run(replace(OPEN, **everything), limited(**everything, sites=frozenset(world().sites)))
    assert attempt.sent


def test_every_rule_is_tried() -> None:
    """Each kind of object in each role that a rule speaks of stands in some plan."""
    tried = {
        (ban.rule, type(one.target).__name__) for plan in _plans() for one in plan.objects for ban in bans(plan, one)
    }
    assert tried >= {
        ("nodes", "NodeTarget"), ("nodes", "StorageTarget"), ("nodes", "GuestTarget"), ("nodes", "NewGuest"),
        ("VMIDs", "GuestTarget"), ("VMIDs", "NewGuest"), ("VMIDs", "BackupTarget"),
        ("pools", "GuestTarget"), ("pools", "NewGuest"), ("pools", "BackupTarget"),
        ("a protected tag", "GuestTarget"), ("a protected tag", "BackupTarget"), ("a protected pool", "GuestTarget"),
        ("a protected pool", "BackupTarget"), ("the protection flag", "GuestTarget"),
        ("a backup's protection", "BackupTarget"), ("our own guest", "GuestTarget"), ("web hosts", "WebTarget"),
        ("all guests of a datastore", "DatastoreTarget"), ("the principal's sites", "DatastoreTarget"),
    }  # fmt: skip


def _plans() -> Iterator[Plan]:
    return (_planned(action, SAMPLES[action][number]) for action, number in ORDERS)
