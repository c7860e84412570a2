"""The `permissions` of the API table, evaluated with Proxmox's error texts (PVE::RPCEnvironment)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from .errors import ApiError, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Rights(Protocol):
    """Who asks: a set of privileges per path."""

    def has(self, path: str) -> frozenset[str]:
        """Give the privileges on a path."""
        ...


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put the request's values into `/vms/{vmid}`."""
    return re.sub(r"\{([^}]+)\}", lambda found: str(values.get(found[1], "")), template)


def need(rights: Rights, path: str, privileges: list[str], *, anyone: bool = False) -> None:
    """Raise 403 unless all (or, with `anyone`, one) of the privileges are there."""
    held = rights.has(path)
    if anyone:
        if not held.intersection(privileges):
            raise refused(f"{path}, {'|'.join(privileges)}")
        return
    for privilege in privileges:
        if privilege not in held:
            raise refused(f"{path}, {privilege}")


def _perm(rights: Rights, check: list[Any], values: Mapping[str, Any]) -> None:
    options = check[3:]
    need(rights, fill(check[1], values), check[2], anyone="any" in options)


def _and(rights: Rights, check: list[Any], values: Mapping[str, Any]) -> None:
    for part in check[1:]:
        evaluate(rights, part, values)


def _or(rights: Rights, check: list[Any], values: Mapping[str, Any]) -> None:
    for part in check[1:]:
        try:
            evaluate(rights, part, values)
        except ApiError:
            continue
        return
    raise refused()


def _userid_group(rights: Rights, check: list[Any], values: Mapping[str, Any]) -> None:
    del values
    if not rights.has("/access/groups").intersection(check[1]):
        raise refused()


def _perm_modify(rights: Rights, check: list[Any], values: Mapping[str, Any]) -> None:
    """Rules of a path are changed by who has Permissions.Modify there."""
    need(rights, fill(check[1], values), ["Permissions.Modify"])


def _userid_param(rights: Rights, check: list[Any], values: Mapping[str, Any]) -> None:
    if check[1] == "Realm.AllocateUser":
        need(rights, f"/access/realm/{str(values.get('userid', '')).partition('@')[2]}", ["Realm.AllocateUser"])
        return
    if check[1] != "self" or getattr(rights, "user", None) != values.get("userid") or getattr(rights, "token", ""):
        raise refused()


_KINDS: dict[str, Callable[[Rights, list[Any], Mapping[str, Any]], None]] = {
    "perm": _perm,
    "perm-modify": _perm_modify,
    "and": _and,
    "or": _or,
    "userid-group": _userid_group,
    "userid-param": _userid_param,
}


def evaluate(rights: Rights, check: list[Any], values: Mapping[str, Any]) -> None:
    kind = _KINDS.get(check[0])
    if kind is None:
        raise refused()
    kind(rights, check, values)


def check_pve(rights: Rights, permissions: dict[str, Any] | None, values: Mapping[str, Any]) -> None:
    """Raise 403 like a PVE host; without `permissions` only root@pam itself passes, and no token is that."""
    if permissions is None:
        raise refused("user != root@pam")
    if permissions.get("user") in ("all", "world"):
        return
    if "check" in permissions:
        evaluate(rights, permissions["check"], values)
        return
    raise refused()


def check_pbs(rights: Rights, permissions: dict[str, Any] | None, values: Mapping[str, Any]) -> None:
    """Raise 403 like a backup server."""
    if not _pbs(rights, permissions, values):
        raise ApiError(403, "permission check failed")


def _pbs(rights: Rights, rule: dict[str, Any] | None, values: Mapping[str, Any]) -> bool:
    if rule is None:
        return False
    if rule.get("user") in ("all", "world"):
        return True
    if "or" in rule:
        return any(_pbs(rights, part, values) for part in rule["or"])
    if "and" in rule:
        return all(_pbs(rights, part, values) for part in rule["and"])
    if "check" not in rule:
        return False
    check = rule["check"]
    held = rights.has("/" + "/".join(fill(part, values) for part in check["path"]))
    return bool(held.intersection(check["privs"])) if check.get("partial") else held.issuperset(check["privs"])
