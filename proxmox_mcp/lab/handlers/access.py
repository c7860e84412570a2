"""Users, roles, rules, tokens and pools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import resources
from proxmox_mcp.lab.access import Acl, Identity, User
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, bad_parameters, refused
from proxmox_mcp.lab.roles import PVE_ROLES

if TYPE_CHECKING:
    from proxmox_mcp.lab.access import Token

_TOP = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")


def users(call: Call) -> list[dict[str, Any]]:
    """Everybody for those who may see users, else only oneself: and a token is not its user."""
    visible = not call.has("/access/groups").isdisjoint(("User.Modify", "Sys.Audit"))
    return [
        {
            "userid": user.userid,
            "enable": int(user.enabled),
            "expire": 0,
            "realm-type": user.userid.partition("@")[2],
            **({"email": user.email} if user.email else {}),
        }
        for user in call.world.access.users.values()
        if visible or call.who.full == user.userid
    ]


def roles(call: Call) -> list[dict[str, Any]]:
    return [
        {"roleid": name, "privs": ",".join(sorted(privileges)), "special": int(name in PVE_ROLES)}
        for name, privileges in call.world.access.roles.items()
    ]


def acl(call: Call) -> list[dict[str, Any]]:
    if not call.may("/access", "Sys.Audit") and not call.may("/access", "Permissions.Modify"):
        return []
    return [_rule(rule) for rule in call.world.access.acls]


def _rule(rule: Acl) -> dict[str, Any]:
    return {
        "path": rule.path,
        "type": rule.kind,
        "ugid": rule.who,
        "roleid": rule.role,
        "propagate": int(rule.propagate),
    }


def permissions(call: Call) -> dict[str, dict[str, int]]:
    """What is in force for the caller (or, for those who may ask, for `userid`), by path."""
    who = _asked(call)
    access = call.world.access
    found = {}
    for path in [call.params["path"]] if "path" in call.params else _paths(call):
        if held := access.privileges(who, path):
            below = access.inherited(who, path)
            found[path] = {privilege: int(privilege in below) for privilege in sorted(held)}
    return found


def _asked(call: Call) -> Identity:
    userid = call.params.get("userid")
    if userid is None or userid == call.who.full:
        return call.who
    call.need("/access", "Sys.Audit")
    user, _, token = userid.partition("!")
    if user not in call.world.access.users or (token and userid not in call.world.access.tokens):
        raise bad_parameters({"userid": f"no such user ('{userid}')"})
    return Identity(user, token)


def _paths(call: Call) -> list[str]:
    ruled = {rule.path for rule in call.world.access.acls}
    return sorted(ruled.union(_TOP))


def domains(_call: Call) -> list[dict[str, str]]:
    return [
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
    ]


def tokens(call: Call) -> list[dict[str, Any]]:
    return [_token(token) for token in call.world.access.tokens.values() if token.user == call.params["userid"]]


def _token(token: Token) -> dict[str, Any]:
    return {"tokenid": token.name, "privsep": int(token.privsep), "expire": token.expire}


def token(call: Call) -> dict[str, Any]:
    found = call.world.access.tokens.get(f"{call.params['userid']}!{call.params['tokenid']}")
    if found is None:
        raise ApiError(500, f"no such token '{call.params['tokenid']}' for user '{call.params['userid']}'")
    return {"privsep": int(found.privsep), "expire": found.expire}


def pools(call: Call) -> list[dict[str, Any]]:
    """All pools that one may see; with `poolid` one of them and its members, whoever asks."""
    world = call.world
    wanted = call.params.get("poolid")
    if wanted is not None:
        pool = world.pools.get(wanted)
        if pool is None:
            raise ApiError(500, f"no such pool '{wanted}'")
        return [{"poolid": pool.name, "comment": pool.comment, "members": _members(call, pool.name)}]
    return [
        {"poolid": pool.name, "comment": pool.comment}
        for pool in world.pools.values()
        if call.may(f"/pool/{pool.name}", "Pool.Audit")
    ]


def _members(call: Call, name: str) -> list[dict[str, Any]]:
    world = call.world
    rows: list[dict[str, Any]] = []
    for guest in world.sorted_guests():
        if guest.pool == name:
            row: dict[str, Any] = json.loads(resources.guest_entry(world, guest))
            row.pop("pool", None)
            row.pop("tags", None)
            rows.append(row)
    for storage in world.pools[name].storages:
        node = next(iter(world.nodes.values()))
        rows.append(resources.storage_row(world, world.storage(storage), node))
    return rows


def one_pool(call: Call) -> dict[str, Any]:
    pool = call.world.pools.get(call.params["poolid"])
    if pool is None:
        raise refused(f"/pool/{call.params['poolid']}, Pool.Audit")
    return {"comment": pool.comment, "members": _members(call, pool.name)}


def add_user(call: Call) -> None:
    access, userid = call.world.access, call.params["userid"]
    if userid in access.users:
        raise ApiError(500, f"create user failed: user '{userid}' already exists")
    access.users[userid] = User(userid, email=call.params.get("email", ""))
    access.forget()


def add_token(call: Call) -> dict[str, Any]:
    """The value is in this answer and nowhere else."""
    access, user, name = call.world.access, call.params["userid"], call.params["tokenid"]
    if user not in access.users:
        raise ApiError(500, f"no such user ('{user}')")
    if f"{user}!{name}" in access.tokens:
        raise bad_parameters({"tokenid": "Token already exists."})
    made = access.add_token(call.world.rng, user, name, privsep=bool(call.params.get("privsep", 1)))
    access.forget()
    info = {"privsep": str(int(made.privsep))}
    return {"full-tokenid": made.full, "info": info, "value": made.value}


def add_role(call: Call) -> None:
    if call.params["roleid"] in call.world.access.roles:
        raise ApiError(500, f"role '{call.params['roleid']}' already exists")
    _write_role(call)


def change_role(call: Call) -> None:
    if call.params["roleid"] not in call.world.access.roles:
        raise ApiError(500, f"role '{call.params['roleid']}' does not exist")
    _write_role(call)


def _write_role(call: Call) -> None:
    access, name = call.world.access, call.params["roleid"]
    if name in PVE_ROLES:
        raise ApiError(500, f"auto-generated role '{name}' cannot be modified")
    given = _listed(call.params.get("privs"))
    for privilege in given:
        if privilege not in access.everything:
            raise ApiError(500, f"invalid privilege '{privilege}'")
    before = access.roles.get(name, frozenset()) if call.params.get("append") else frozenset()
    access.roles = {**access.roles, name: before | frozenset(given)}
    access.forget()


def change_acl(call: Call) -> None:
    access, path = call.world.access, call.params["path"]
    owners = [(kind, who) for kind in ("user", "group", "token") for who in _listed(call.params.get(f"{kind}s"))]
    for kind, who in owners:
        if (kind == "user" and who not in access.users) or (kind == "token" and who not in access.tokens):
            raise ApiError(500, f"no such {kind} '{who}'")
        for role in _listed(call.params["roles"]):
            if role not in access.roles:
                raise ApiError(500, f"role '{role}' does not exist")
            same = [r for r in access.acls if (r.path, r.kind, r.who, r.role) == (path, kind, who, role)]
            access.acls = [rule for rule in access.acls if rule not in same]
            if not call.params.get("delete"):
                access.acls.append(Acl(path, kind, who, role, bool(call.params.get("propagate", 1))))
    access.forget()


def _listed(text: str | None) -> list[str]:
    return [part for part in (text or "").replace(";", ",").replace(" ", ",").split(",") if part]


ROUTES: tuple[Route, ...] = (
    ("GET", "/access/users", users),
    ("POST", "/access/users", add_user),
    ("GET", "/access/roles", roles),
    ("POST", "/access/roles", add_role),
    ("PUT", "/access/roles/{roleid}", change_role),
    ("GET", "/access/acl", acl),
    ("PUT", "/access/acl", change_acl),
    ("GET", "/access/permissions", permissions),
    ("GET", "/access/domains", domains),
    ("GET", "/access/users/{userid}/token", tokens),
    ("GET", "/access/users/{userid}/token/{tokenid}", token),
    ("POST", "/access/users/{userid}/token/{tokenid}", add_token),
    ("GET", "/pools", pools),
    ("GET", "/pools/{poolid}", one_pool),
)
