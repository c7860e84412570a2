"""What may be done by which principal, to what. Rules are rows: each looks at one thing and refuses or passes.

Every object that an action touches must pass, before and after: a guest's node and pool as well as itself, a clone's
source and what it becomes, for a node action every guest that it starts or takes down. What the rules mean:
- An allow-list that is set admits nothing else; all that are set, the principal's own too, must admit every object.
  A pool contains its sub-pools. What reaches all guests of a datastore is outside every list of guests.
- "Protected" (by tag or pool) means: spared. Start and resume are fine, and so are snapshots and backups; what takes it
  down is not, nor is anything of risk `change` or above that writes or destroys it. It may be read from (cloned).
- Proxmox's own flag `protection` guards a guest's (or a backup's) disks and existence, not its power: what destroys
  something is refused.
- The guests and node that this service, its broker or Home Assistant run on are not taken down without an approval,
  whatever the settings say (`needs_approval`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from mqtt_bridge.errors import PolicyError
from mqtt_bridge.settings import Level, Limits, PermissionSettings, allows
from mqtt_bridge.targets import BackupTarget, DatastoreTarget, GuestTarget, NewGuest, Touched, WebTarget

T = TypeVar("T")
AnyGuest = GuestTarget | NewGuest | BackupTarget
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
    """One request before the rules. `objects` is everything that it touches; `risk` and `downs` are the plan's."""

    permission: PermissionSettings
    principal: Principal
    act: Act
    objects: Sequence[Touched]
    risk: Level
    downs: bool

    @classmethod
    def of(
        cls,
        permission: PermissionSettings,
        principal: Principal,
        act: Act,
        objects: Sequence[Touched],
        *,
        risk: Level | None,
        downs: bool | None,
    ) -> Self:
        """With the row's own where the plan says nothing else."""
        return cls(permission, principal, act, objects, risk or act.risk, act.takes_down if downs is None else downs)

    @property
    def guests(self) -> Iterator[AnyGuest]:
        """Those that are read too: an allow-list says what may be looked into."""
        return (o.target for o in self.objects if isinstance(o.target, GuestTarget | NewGuest | BackupTarget))

    @property
    def harmed(self) -> Iterator[AnyGuest]:
        """The guests that suffer: what is protected must be spared this."""
        if not (self.downs or allows(self.risk, "change")):
            return
        for one in self.objects:
            if one.role in {"write", "destroy"} and isinstance(one.target, GuestTarget | BackupTarget):
                yield one.target

    @property
    def nodes(self) -> Iterator[str]:
        """Every node that is touched."""
        return iter(dict.fromkeys(o.target.node for o in self.objects if o.target.node))


def allowed(principal: Principal, act: Act) -> bool:
    """Whether the principal's level admits the action at all: what is not is not listed to it."""
    return allows(principal.level, act.risk)


def judge(
    permission: PermissionSettings,
    principal: Principal,
    act: Act,
    objects: Sequence[Touched],
    *,
    risk: Level | None = None,
    downs: bool | None = None,
) -> Refusal | None:
    """The first rule's refusal, or None: it may be done. Raises nothing and asks nobody.

    `risk` and `downs` are a plan's, where its arguments make it worse than its row.
    """
    case = Case.of(permission, principal, act, objects, risk=risk, downs=downs)
    return next((refusal for rule in RULES if (refusal := rule(case))), None)


def needs_approval(
    permission: PermissionSettings,
    principal: Principal,
    act: Act,
    objects: Sequence[Touched],
    *,
    risk: Level | None = None,
    downs: bool | None = None,
) -> str:
    """Why a person has to approve it first; empty: nobody has to. To be asked after `judge` let it pass."""
    case = Case.of(permission, principal, act, objects, risk=risk, downs=downs)
    own = case.permission.self_guests
    mine = [
        o.target.label
        for o in case.objects
        if o.role in {"write", "destroy"}
        and (o.target.is_self or (isinstance(o.target, GuestTarget) and o.target.vmid in own))
    ]
    if case.downs and mine:
        return f"it takes down {mine[0]}, which this service, its broker or Home Assistant runs on"
    if case.risk in permission.approval_required:
        return f"its risk is {case.risk!r} (APPROVAL_REQUIRED)"
    return ""


def _level(case: Case) -> Refusal | None:
    risk, who = case.risk, case.principal
    if allows(who.level, risk):
        return None
    setting = "MCP_TOKENS_FILE" if who.named else CEILINGS[who.channel]
    also = " (or PROXMOX_ALLOW_ELEVATED=true)" if setting == "MCP_ALLOW" else ""
    return Refusal(
        f"{case.act.title} needs the permission level {risk!r}; {who.name} ({who.channel}) has {who.level!r}.",
        f"Give {who.name!r} in {setting} the level {risk!r} and restart this service."
        if who.named
        else f"Set {setting}={risk}{also} where this service is configured, and restart it.",
        setting,
    )


@dataclass(frozen=True)
class _Listed(Generic[T]):
    """An allow-list that is set, and where."""

    setting: str
    admits: frozenset[T]


def _lists(case: Case, name: str, setting: str) -> Iterator[_Listed[Any]]:
    """The settings' list and the principal's own: each that is set must admit everything."""
    for where, source in (
        (setting, case.permission),
        (f"MCP_TOKENS_FILE ({case.principal.name})", case.principal.limits),
    ):
        listed = getattr(source, name)
        if listed is not None:
            yield _Listed(where, listed)


def _sites(case: Case) -> Refusal | None:
    listed = case.principal.limits.sites
    sites = dict.fromkeys(o.target.site for o in case.objects)
    outside = () if listed is None else [f"site {site}" for site in sites if site not in listed]
    return _outside(outside, f"MCP_TOKENS_FILE ({case.principal.name})")


def _nodes(case: Case) -> Refusal | None:
    found = (
        _outside([f"node {n}" for n in case.nodes if n not in lst.admits], lst.setting)
        for lst in _lists(case, "node_allowlist", "PROXMOX_NODE_ALLOWLIST")
    )
    return next((refusal for refusal in found if refusal), None)


def _vmids(case: Case) -> Refusal | None:
    found = (
        _outside([g.label for g in case.guests if g.vmid not in lst.admits] + _whole(case), lst.setting)
        for lst in _lists(case, "vmid_allowlist", "PROXMOX_VMID_ALLOWLIST")
    )
    return next((refusal for refusal in found if refusal), None)


def _pools(case: Case) -> Refusal | None:
    found = (
        _outside([_pooled(g) for g in case.guests if not within(g.pool, lst.admits)] + _whole(case), lst.setting)
        for lst in _lists(case, "pool_allowlist", "PROXMOX_POOL_ALLOWLIST")
    )
    return next((refusal for refusal in found if refusal), None)


def _whole(case: Case) -> list[str]:
    """What reaches guests that nobody names cannot be inside a list of guests."""
    stores = (o.target for o in case.objects if isinstance(o.target, DatastoreTarget) and o.target.whole)
    return [f"{store.label}, which holds backups of all guests" for store in stores]


def _web(case: Case) -> Refusal | None:
    """What Proxmox fetches comes from listed hosts only; without a list nothing is fetched."""
    hosts = case.permission.image_url_allowlist
    found = (o.target for o in case.objects if isinstance(o.target, WebTarget))
    return _outside([t.label for t in found if not listed_host(t.host, hosts)], "IMAGE_URL_ALLOWLIST")


def listed_host(host: str, hosts: Iterable[str]) -> bool:
    """Whether it is one of them; `*.example.org` stands for every name below example.org."""
    return any(host == h or (h.startswith("*.") and host.endswith(h[1:])) for h in hosts)


def _protected_tags(case: Case) -> Refusal | None:
    tags = {t.casefold() for t in case.permission.protected_tags}
    found = ((g, sorted(g.tags & tags)) for g in case.harmed)
    return next((_protected(case, g, f"the tag {hit[0]!r}", "PROXMOX_PROTECTED_TAGS") for g, hit in found if hit), None)


def _protected_pools(case: Case) -> Refusal | None:
    pools = {p.casefold() for p in case.permission.protected_pools}
    found = (g for g in case.harmed if g.pool and within(g.pool.casefold(), pools))
    return next((_protected(case, g, f"the pool {g.pool!r}", "PROXMOX_PROTECTED_POOLS") for g in found), None)


def _proxmox_protection(case: Case) -> Refusal | None:
    destroyed = (o.target for o in case.objects if o.role == "destroy")
    return next(
        (
            Refusal(
                f"{one.label} has Proxmox's protection flag, so {case.act.title.lower()} is refused.",
                "Someone who may change it can take its protection off in Proxmox.",
            )
            for one in destroyed
            if (isinstance(one, GuestTarget) and one.protection) or (isinstance(one, BackupTarget) and one.protected)
        ),
        None,
    )


RULES: tuple[Callable[[Case], Refusal | None], ...] = (
    _level,
    _sites,
    _nodes,
    _vmids,
    _pools,
    _web,
    _protected_tags,
    _protected_pools,
    _proxmox_protection,
)


def within(pool: str | None, pools: Iterable[str]) -> bool:
    """Whether `pool` is one of `pools` or lies in one: Proxmox nests them as `parent/child`."""
    return pool is not None and any(pool == p or pool.startswith(f"{p}/") for p in pools)


def _pooled(guest: AnyGuest) -> str:
    return f"{guest.label} in pool {guest.pool}" if guest.pool else f"{guest.label}, which is in no pool"


def _outside(outside: Sequence[str], setting: str) -> Refusal | None:
    if not outside:
        return None
    named = "; ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")  # noqa: PLR2004
    return Refusal(
        f"Outside {setting}: {named}.",
        f"Add it to {setting} where this service is configured, and restart it.",
        setting.partition(" ")[0],
    )


def _protected(case: Case, guest: AnyGuest, by: str, setting: str) -> Refusal:
    return Refusal(
        f"{guest.label} is protected by {by}, so {case.act.title.lower()} is refused.",
        f"Do it in Proxmox itself, or take that out of {setting} where this service is configured.",
        setting,
    )
