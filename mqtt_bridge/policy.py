"""What may be done by which principal, to what. Rules are rows: each looks at one thing and refuses or passes.

Every object that an action touches must pass: a guest's node and pool as well as itself, and for a node action every
guest that it starts or takes down. What the rules mean for power:
- An allow-list that is set admits nothing else; all that are set must admit a guest. A pool contains its sub-pools.
- "Protected" (by tag or pool) means: not taken down. Start and resume are fine; stop, shutdown, reboot, reset, suspend
  and hibernate are not, nor is anything of risk `change` or above.
- Proxmox's own flag `protection` guards a guest's disks and existence, not its power: it refuses `destroy` of a guest.
- The guests and node that this service, its broker or Home Assistant run on are not taken down without an approval,
  whatever the settings say.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mqtt_bridge.errors import PolicyError
from mqtt_bridge.settings import Level, Limits, PermissionSettings, allows
from mqtt_bridge.targets import GuestTarget, Target

Channel = Literal["stdio", "http", "mqtt", "discord", "rules", "console"]
CEILINGS: dict[Channel, str] = {
    "stdio": "MCP_ALLOW",
    "http": "MCP_ALLOW",
    "mqtt": "MQTT_ALLOW",
    "discord": "DISCORD_ALLOW",
    "rules": "RULES_ALLOW",
    "console": "MCP_ALLOW",
}


@dataclass(frozen=True)
class Principal:
    """Who asks, through what, and how far that goes. `toolsets`: sets or names of tools; None: those configured.

    `named`: a token of MCP_TOKENS_FILE, whose entry there says all of this; `limits` come on top of the settings'.
    """

    name: str
    channel: Channel
    level: Level = "read"
    toolsets: frozenset[str] | None = None
    limits: Limits = field(default_factory=Limits)
    named: bool = False


class Act(Protocol):
    """What the rules look at in an action's row."""

    @property
    def title(self) -> str: ...
    @property
    def risk(self) -> Level: ...
    @property
    def target(self) -> Literal["guest", "node"]: ...
    @property
    def takes_down(self) -> bool: ...


@dataclass(frozen=True)
class Refusal:
    """Why not. `setting` is what would allow it; empty where no setting does."""

    reason: str
    cure: str
    setting: str = ""

    def error(self) -> PolicyError:
        """As an exception."""
        return PolicyError(self.reason, cure=self.cure, setting=self.setting)


@dataclass(frozen=True)
class Case:
    """One request before the rules. `objects` is everything that it touches."""

    permission: PermissionSettings
    principal: Principal
    act: Act
    objects: Sequence[Target]

    @property
    def guests(self) -> Iterator[GuestTarget]:
        return (o for o in self.objects if isinstance(o, GuestTarget))

    @property
    def nodes(self) -> Iterator[str]:
        return iter(dict.fromkeys(o.node for o in self.objects))

    @property
    def harms(self) -> bool:
        """Something that is protected must be spared this."""
        return self.act.takes_down or allows(self.act.risk, "change")


def allowed(principal: Principal, act: Act) -> bool:
    """Whether the principal's level admits the action at all: what is not is not listed to it."""
    return allows(principal.level, act.risk)


def judge(permission: PermissionSettings, principal: Principal, act: Act, objects: Sequence[Target]) -> Refusal | None:
    """The first rule's refusal, or None: it may be done. Raises nothing and asks nobody."""
    case = Case(permission, principal, act, objects)
    return next((refusal for rule in RULES if (refusal := rule(case))), None)


def _level(case: Case) -> Refusal | None:
    if allowed(case.principal, case.act):
        return None
    risk, who = case.act.risk, case.principal
    setting = "MCP_TOKENS_FILE" if who.named else CEILINGS[who.channel]
    also = " (or PROXMOX_ALLOW_ELEVATED=true)" if setting == "MCP_ALLOW" else ""
    return Refusal(
        f"{case.act.title} needs the permission level {risk!r}; {who.name} ({who.channel}) has {who.level!r}.",
        f"Give {who.name!r} in {setting} the level {risk!r} and restart this service."
        if who.named
        else f"Set {setting}={risk}{also} where this service is configured, and restart it.",
        setting,
    )


def _nodes(case: Case) -> Refusal | None:
    listed = case.permission.node_allowlist
    outside = () if listed is None else [n for n in case.nodes if n not in listed]
    return _outside("node", outside, "PROXMOX_NODE_ALLOWLIST")


def _vmids(case: Case) -> Refusal | None:
    listed = case.permission.vmid_allowlist
    outside = () if listed is None else [g.label for g in case.guests if g.vmid not in listed]
    return _outside("guest", outside, "PROXMOX_VMID_ALLOWLIST")


def _pools(case: Case) -> Refusal | None:
    listed = case.permission.pool_allowlist
    outside = () if listed is None else [_pooled(g) for g in case.guests if not within(g.pool, listed)]
    return _outside("guest", outside, "PROXMOX_POOL_ALLOWLIST")


def _protected_tags(case: Case) -> Refusal | None:
    tags = {t.casefold() for t in case.permission.protected_tags}
    found = ((g, sorted(g.tags & tags)) for g in case.guests if case.harms)
    return next((_protected(case, g, f"the tag {hit[0]!r}", "PROXMOX_PROTECTED_TAGS") for g, hit in found if hit), None)


def _protected_pools(case: Case) -> Refusal | None:
    pools = {p.casefold() for p in case.permission.protected_pools}
    found = (g for g in case.guests if case.harms and g.pool and within(g.pool.casefold(), pools))
    return next((_protected(case, g, f"the pool {g.pool!r}", "PROXMOX_PROTECTED_POOLS") for g in found), None)


def _proxmox_protection(case: Case) -> Refusal | None:
    destroys = case.act.target == "guest" and case.act.risk == "destroy"
    return next(
        (
            Refusal(
                f"{g.label} has Proxmox's protection flag, so {case.act.title.lower()} is refused.",
                "Someone who may change the guest can take its protection off in Proxmox.",
            )
            for g in case.guests
            if destroys and g.protection
        ),
        None,
    )


def _self(case: Case) -> Refusal | None:
    own = case.permission.self_guests
    mine = [
        o.label
        for o in case.objects
        if o.is_self or (isinstance(o, GuestTarget) and o.vmid in own)
        if case.act.takes_down
    ]
    if not mine:
        return None
    return Refusal(
        f"{case.act.title} would take down {mine[0]}, which this service, its broker or Home Assistant runs on: "
        "that needs an approval, always.",
        "This version has no approvals yet, and no setting turns this off: do it in Proxmox itself.",
    )


def _approval(case: Case) -> Refusal | None:
    if case.act.risk not in case.permission.approval_required:
        return None
    return Refusal(
        f"{case.act.title} is of risk {case.act.risk!r}, which needs an approval, and this version has none yet.",
        "Do it in Proxmox itself, or set APPROVAL_REQUIRED=none to do without approvals at your own risk.",
        "APPROVAL_REQUIRED",
    )


RULES: tuple[Callable[[Case], Refusal | None], ...] = (
    _level,
    _nodes,
    _vmids,
    _pools,
    _protected_tags,
    _protected_pools,
    _proxmox_protection,
    _self,
    _approval,
)


def within(pool: str | None, pools: Iterable[str]) -> bool:
    """Whether `pool` is one of `pools` or lies in one: Proxmox nests them as `parent/child`."""
    return pool is not None and any(pool == p or pool.startswith(f"{p}/") for p in pools)


def _pooled(guest: GuestTarget) -> str:
    return f"{guest.label} in pool {guest.pool}" if guest.pool else f"{guest.label}, which is in no pool"


def _outside(kind: str, outside: Sequence[str], setting: str) -> Refusal | None:
    if not outside:
        return None
    named = "; ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")  # noqa: PLR2004
    return Refusal(
        f"Outside {setting}: {kind} {named}." if kind == "node" else f"Outside {setting}: {named}.",
        f"Add it to {setting} where this service is configured, and restart it.",
        setting,
    )


def _protected(case: Case, guest: GuestTarget, by: str, setting: str) -> Refusal:
    return Refusal(
        f"{guest.label} is protected by {by}, so {case.act.title.lower()} is refused.",
        f"Do it in Proxmox itself, or take that out of {setting} where this service is configured.",
        setting,
    )
