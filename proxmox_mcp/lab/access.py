"""Users, tokens and rights: who somebody is, and what they may do on a path."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

NO_TICKET = ApiError(401, "No ticket", body=False)
FAILED = ApiError(401, "Authentication failed!", body=False)
ROOT = "root@pam"


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated caller; `token` is empty for a ticket."""

    user: str
    token: str

    @property
    def full(self) -> str:
        return f"{self.user}!{self.token}" if self.token else self.user


NOBODY = Identity("", "")
"""Who asks what anybody may: nobody looks at the login."""


@dataclass(slots=True)
class Token:
    user: str
    name: str
    value: str
    privsep: bool = True
    expire: int = 0
    revoked: bool = False
    stripped: bool = False

    @property
    def full(self) -> str:
        return f"{self.user}!{self.name}"


@dataclass(slots=True)
class User:
    userid: str
    enabled: bool = True
    email: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Acl:
    """`who` is a user, `user!token` or a group; `kind` says which."""

    path: str
    kind: str
    who: str
    role: str
    propagate: bool = True


@dataclass(slots=True)
class Access:
    """One realm of rights: a cluster's, or a backup server's."""

    roles: Mapping[str, frozenset[str]]
    scheme: str
    """`PVEAPIToken` or `PBSAPIToken`."""
    separator: str
    """Between token id and value: `=` on PVE, `:` on PBS."""
    everything: frozenset[str]
    users: dict[str, User] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    acls: list[Acl] = field(default_factory=list)
    pools: dict[str, str] = field(default_factory=dict)
    """`/vms/100` → `/pool/prod`: rights on a pool count for its members."""
    _cache: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop what was computed; to be called after a change of users, tokens, rules or pools."""
        self._cache.clear()

    def authenticate(self, header: str | None, now: float) -> Identity:
        if not header:
            raise NO_TICKET
        scheme, _, rest = header.replace(f"{self.scheme}=", f"{self.scheme} ", 1).partition(" ")
        name, separator, value = rest.strip().partition(self.separator)
        token = self.tokens.get(name)
        if scheme != self.scheme or not separator or token is None:
            raise FAILED
        user = self.users[token.user]
        expired = token.expire and token.expire < now
        if token.revoked or expired or not user.enabled or not hmac.compare_digest(token.value, value):
            raise FAILED
        return Identity(token.user, token.name)

    def privileges(self, who: Identity, path: str) -> frozenset[str]:
        """Give the privileges in force on a path; a separated token has the intersection with its user's."""
        key = (who.full, path)
        if key not in self._cache:
            self._cache[key] = self._compute(who, path)
        return self._cache[key]

    def inherited(self, who: Identity, path: str) -> frozenset[str]:
        """Those that hold below a path too, where no rule says otherwise."""
        return self.privileges(who, f"{path.rstrip('/')}/~")

    def _compute(self, who: Identity, path: str) -> frozenset[str]:
        users = self._granted(who.user, path)
        if not who.token:
            return users
        token = self.tokens[who.full]
        if token.stripped:
            return frozenset()
        return users & self._granted(who.full, path) if token.privsep else users

    def _granted(self, who: str, path: str) -> frozenset[str]:
        if who == ROOT:
            return self.everything
        granted = self._along(who, path)
        pool = self.pools.get(path)
        return granted | self._along(who, pool) if pool else granted

    def _along(self, who: str, path: str) -> frozenset[str]:
        """Walk from `/` down: rules of a deeper level replace those inherited, a user's those of its groups."""
        steps = ["/"]
        for segment in path.strip("/").split("/") if path != "/" else []:
            steps.append(f"{steps[-1].rstrip('/')}/{segment}")
        groups = self.users[who].groups if who in self.users else ()
        roles: set[str] = set()
        for step in steps:
            last = step == steps[-1]
            rules = [acl for acl in self.acls if acl.path == step and (acl.propagate or last)]
            own = {acl.role for acl in rules if acl.kind != "group" and acl.who == who}
            shared = {acl.role for acl in rules if acl.kind == "group" and acl.who in groups}
            roles = own or shared or roles
        return frozenset().union(*(self.roles[role] for role in roles)) if "NoAccess" not in roles else frozenset()

    def add_token(self, rng: Random, user: str, name: str, *, privsep: bool = True) -> Token:
        digits = "".join(rng.choices("0123456789abcdef", k=32))
        value = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        token = Token(user, name, value, privsep)
        self.tokens[token.full] = token
        return token
