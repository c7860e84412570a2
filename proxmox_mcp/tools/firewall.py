"""Firewall rules of a site, a node or a guest."""

from typing import Any, Literal

from pydantic import Field

from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Call, NodeArgument, Page, Paged, SiteArgument, Tool, Vmid, paged

Row = dict[str, Any]
# whether a firewall is on where its options do not say
DEFAULT = {"cluster": False, "node": True, "guest": False}


class FirewallRequest(Paged):
    """Whose rules: of `vmid`, else of `node`, else of the whole site."""

    vmid: Vmid | None = None
    node: NodeArgument = None
    site: SiteArgument = None


class FirewallRule(asking.Part):
    """One rule; the first that fits decides."""

    pos: int
    enabled: bool
    type: str
    action: str
    macro: str | None = None
    iface: str | None = None
    source: str | None = None
    dest: str | None = None
    proto: str | None = None
    sport: str | None = None
    dport: str | None = None
    log: str | None = None
    comment: str = ""


class FirewallAnswer(Page):
    """Rules in their order, and the options in force."""

    site: str
    scope: Literal["cluster", "node", "guest"]
    target: str
    enabled: bool | None = Field(default=None, description="false: the rules do nothing; the cluster's must be on too")
    policy_in: str | None = None
    policy_out: str | None = None
    rules: tuple[FirewallRule, ...] = ()
    security_groups: tuple[str, ...] = ()

    def text(self) -> str:
        state = {True: "on", False: "OFF", None: "not known"}[self.enabled]
        policies = {"in": self.policy_in, "out": self.policy_out}
        policy = "".join(f", {way} {name}" for way, name in policies.items() if name)
        head = f"Firewall of {self.target}: {state}{policy}; {self.total} rules"
        rows = (
            (r.pos, "on" if r.enabled else "off", r.type, r.action, r.macro, r.iface, r.source, r.dest, r.proto,
             r.sport, r.dport, r.comment)
            for r in self.rules
        )  # fmt: skip
        titles = ("#", "", "type", "action", "macro", "iface", "source", "dest", "proto", "sport", "dport", "comment")
        return words.answer(head, words.table(titles, rows) if self.rules else "", self, more=self.next_cursor)


async def get_firewall_rules(call: Call, args: FirewallRequest) -> FirewallAnswer:
    """Rules and options, two calls."""
    site, scope, target, path = await _whose(call, args)
    client = call.client(site)
    asked = ("rules", "options", "groups") if scope == "cluster" else ("rules", "options")
    heard = await asking.together({name: client.get(*path, "firewall", name) for name in asked})
    if "rules" in heard.errors:
        raise heard.errors["rules"]
    rules = [_rule(row) for row in sorted(heard.answers["rules"], key=lambda row: int(row.get("pos", 0)))]
    shown, cursor = paged(rules, lambda rule: str(rule.pos), args)
    options: Row | None = heard.answers.get("options")
    return FirewallAnswer(
        **asking.now(call, *heard.notes, complete=not heard.errors),
        total=len(rules),
        next_cursor=cursor,
        site=site,
        scope=scope,
        target=target,
        enabled=None if options is None else bool(int(options.get("enable", DEFAULT[scope]))),
        policy_in=options and options.get("policy_in"),
        policy_out=options and options.get("policy_out"),
        rules=tuple(shown),
        security_groups=tuple(str(row.get("group")) for row in heard.answers.get("groups", ())),
    )


Whose = tuple[str, Literal["cluster", "node", "guest"], str, tuple[str | int, ...]]


async def _whose(call: Call, args: FirewallRequest) -> Whose:
    if args.vmid is not None:
        place = await asking.guest(call, args.vmid, args.node, args.site)
        return place.site, "guest", place.label, ("nodes", place.node, place.type, place.vmid)
    if args.node is not None:
        return await asking.node(call, args.node, args.site), "node", f"node {args.node}", ("nodes", args.node)
    found = list(asking.hosts(call, args.site))
    if len(found) > 1:
        raise asking.AskedWrongError("There are several sites.", cure=f"Give `site`: {', '.join(found)}.")
    return found[0], "cluster", f"site {found[0]}", ("cluster",)


def _rule(row: Row) -> FirewallRule:
    names = ("macro", "iface", "source", "dest", "proto", "sport", "dport", "log")
    return FirewallRule(
        pos=int(row.get("pos", 0)),
        enabled=bool(int(row.get("enable", 1) or 0)),
        type=str(row.get("type")),
        action=str(row.get("action")),
        comment=asking.clean(row.get("comment")),
        **{name: str(row[name]) for name in names if row.get(name) is not None},
    )


TOOLS = (
    Tool(
        "get_firewall_rules",
        "Firewall rules",
        "Firewall rules and policy of a guest (`vmid`), a node (`node`) or the cluster.",
        "history",
        FirewallRequest,
        FirewallAnswer,
        get_firewall_rules,
    ),
)
