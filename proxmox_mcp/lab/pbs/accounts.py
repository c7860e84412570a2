"""Users, tokens and rules of a backup server, as `proxmox-backup-manager` changes them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.access import Acl, User
from proxmox_mcp.lab.errors import ApiError

if TYPE_CHECKING:
    from .call import Call


def add_user(call: Call) -> None:
    access, userid = call.host.access, call.params["userid"]
    if userid in access.users:
        raise ApiError(400, f"user '{userid}' already exists.")
    access.users[userid] = User(userid, email=call.params.get("email", ""))
    access.forget()


def add_token(call: Call) -> dict[str, Any]:
    """A token here has its own rights, never more than its user's. The value is in this answer alone."""
    access, user, name = call.host.access, call.params["userid"], call.params["token-name"]
    if user not in access.users:
        raise ApiError(400, f"user '{user}' does not exist.")
    if f"{user}!{name}" in access.tokens:
        raise ApiError(400, f"token '{name}' for user '{user}' already exists.")
    made = access.add_token(Random(f"{call.host.name} {user}!{name}"), user, name)
    access.forget()
    return {"tokenid": made.full, "value": made.value}


def change_acl(call: Call) -> None:
    """One role for one user or token on one path."""
    access, path, role = call.host.access, call.params["path"], call.params["role"]
    who = call.params.get("auth-id", "")
    if "Permissions.Modify" not in call.has(path):
        raise ApiError(403, "permission check failed")
    if who not in access.users and who not in access.tokens:
        raise ApiError(400, f"no such {'API token' if '!' in who else 'user'}.")
    access.acls = [rule for rule in access.acls if (rule.path, rule.who, rule.role) != (path, who, role)]
    if not call.params.get("delete"):
        kind = "token" if "!" in who else "user"
        access.acls.append(Acl(path, kind, who, role, bool(call.params.get("propagate", 1))))
    access.forget()
