"""The notification configuration of a cluster or backup server: targets, matchers, and the rules of both products."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.errors import ApiError, bad_parameters

from . import daily, loopback
from .model import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Callable

ENDPOINTS = ("gotify", "sendmail", "smtp", "webhook")
MATCHER = "matcher"
PRIVATE = {"gotify": ("token",), "smtp": ("password",), "webhook": ("secret",)}
"""Kept in a file of root's, never answered: of a webhook's secrets one hears the names."""
FLAGS = ("disable", "invert-match")
_FIELD = re.compile(r"(?:exact|regex):[A-Za-z0-9_][A-Za-z0-9._\-]*=.*")


@dataclass(slots=True)
class Entry:
    """One section of notifications.cfg."""

    kind: str
    values: dict[str, Any]
    private: dict[str, Any] = field(default_factory=dict)
    origin: str = "user-created"

    @property
    def name(self) -> str:
        return str(self.values["name"])

    @property
    def disabled(self) -> bool:
        return bool(self.values.get("disable"))

    @property
    def secrets(self) -> dict[str, str]:
        """A webhook's secrets, decoded."""
        return {name: decode(value) for name, value in map(pair, self.private.get("secret", []))}


def pair(text: str) -> tuple[str, str | None]:
    """Read `name=X,value=BASE64`; the value may be missing."""
    parts = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    return parts.get("name", ""), parts.get("value")


def decode(value: str | None) -> str:
    return base64.b64decode(value or "", validate=True).decode()


def _builtin() -> dict[str, Entry]:
    mail = {"name": "mail-to-root", "comment": "Send mails to root@pam's email address", "mailto-user": ["root@pam"]}
    route = {
        "name": "default-matcher",
        "comment": "Route all notifications to mail-to-root",
        "mode": "all",
        "target": ["mail-to-root"],
    }
    return {
        "mail-to-root": Entry("sendmail", mail, origin="builtin"),
        "default-matcher": Entry(MATCHER, route, origin="builtin"),
    }


@dataclass(slots=True)
class NotifyConfig:
    """All entries by name: a target and a matcher can't share one."""

    entries: dict[str, Entry] = field(default_factory=_builtin)

    @property
    def digest(self) -> str:
        text = repr([(one.kind, one.values, sorted(one.private)) for one in self.entries.values()])
        return hashlib.sha256(text.encode()).hexdigest()

    def of(self, kind: str) -> list[Entry]:
        return [one for one in self.entries.values() if one.kind == kind]

    def targets(self) -> list[Entry]:
        return [one for kind in ENDPOINTS for one in self.of(kind)]

    def get(self, kind: str, name: str) -> Entry:
        found = self.entries.get(name)
        if found is None or found.kind != kind:
            raise ApiError(404, f"{'matcher' if kind == MATCHER else 'endpoint'} '{name}' not found")
        return found

    def add(self, kind: str, params: dict[str, Any]) -> None:
        name = params["name"]
        if name in self.entries:
            raise ApiError(400, f"Cannot create '{name}', an entity with the same name already exists")
        entry = Entry(kind, {"name": name})
        self._set(entry, params)
        self.entries[name] = entry

    def update(self, kind: str, params: dict[str, Any]) -> None:
        """Change what is given, remove what `delete` names; all of it, or nothing when something is wrong."""
        if params.get("digest", self.digest) != self.digest:
            raise ApiError(400, "detected modified configuration - file changed by other user? Try again.")
        entry = deepcopy(self.get(kind, params["name"]))
        for key in params.get("delete", ()):
            entry.values.pop(key, None)
            entry.private.pop(key, None)
        self._set(entry, params)
        if entry.origin == "builtin":
            entry.origin = "modified-builtin"
        self.entries[entry.name] = entry

    def delete(self, kind: str, name: str) -> None:
        """Remove; one that came with the system is as it was at first again."""
        self.get(kind, name)
        users = [one.name for one in self.of(MATCHER) if name in one.values.get("target", ())]
        if users and kind != MATCHER:
            raise ApiError(400, f"cannot delete '{name}', referenced by: {', '.join(users)}")
        del self.entries[name]
        if name in (builtin := _builtin()):
            self.entries[name] = builtin[name]

    def _set(self, entry: Entry, params: dict[str, Any]) -> None:
        given = {key: value for key, value in params.items() if key not in ("node", "delete", "digest", "origin")}
        private = PRIVATE.get(entry.kind, ())
        new = {key: given.pop(key) for key in private if key in given}
        if "secret" in new:
            new["secret"] = _secrets(new["secret"], entry.private.get("secret", []))
        entry.values |= given
        entry.private |= new
        for check in _CHECKS[entry.kind]:
            check(self, entry)


def _secrets(given: list[str], old: list[str]) -> list[str]:
    """Take new secrets; one without a value keeps the one it has."""
    kept = {pair(text)[0]: text for text in old}
    found: dict[str, str] = {}
    for text in given:
        name, value = pair(text)
        if value is None and name not in kept:
            raise ApiError(400, f"secret '{name}' not known")
        if name in found:
            raise ApiError(400, f"secret '{name}' defined multiple times")
        if value is not None:
            _need_base64("secret", name, value)
        found[name] = text if value is not None else kept[name]
    return list(found.values())


def _need_base64(what: str, name: str, value: str) -> None:
    try:
        decode(value)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"{what} '{name}' does not have valid base64 encoded data") from error


def _headers(_config: NotifyConfig, entry: Entry) -> None:
    for text in entry.values.get("header", ()):
        name, value = pair(text)
        if value is None:
            raise ApiError(400, f"header '{name}' has empty value")
        _need_base64("header", name, value)


def _recipients(_config: NotifyConfig, entry: Entry) -> None:
    if not entry.values.get("mailto") and not entry.values.get("mailto-user"):
        raise ApiError(400, "must at least provide one recipient, either in mailto or in mailto-user")


def _address(key: str, check: Callable[[str], str]) -> Callable[[NotifyConfig, Entry], None]:
    """Refuse what is not on loopback; a host that a template makes is looked at when it is sent."""

    def run(_config: NotifyConfig, entry: Entry) -> None:
        value = str(entry.values[key])
        if "{{" in value.partition("://")[2].partition("/")[0]:
            return
        try:
            check(value)
        except loopback.NotLoopbackError as error:
            raise bad_parameters({key: str(error)}) from error

    return run


def _routes(config: NotifyConfig, entry: Entry) -> None:
    for target in entry.values.get("target", ()):
        if target not in config.entries or config.entries[target].kind == MATCHER:
            raise ApiError(404, f"could not find endpoint '{target}'")


def _directives(_config: NotifyConfig, entry: Entry) -> None:
    for text in entry.values.get("match-field", ()):
        if not _FIELD.fullmatch(text):
            raise bad_parameters({"match-field": f"could not apply filter: invalid match-field statement: {text}"})
        if text.startswith("regex:"):
            _need_regex(text.partition("=")[2])
    for text in entry.values.get("match-severity", ()):
        for severity in map(str.strip, text.split(",")):
            if severity not in SEVERITIES:
                raise bad_parameters({"match-severity": f"invalid severity {severity}"})

    for text in entry.values.get("match-calendar", ()):
        try:
            daily.parse(text)
        except ValueError as error:
            raise bad_parameters({"match-calendar": f"could not parse schedule: {error}"}) from error


def _need_regex(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise bad_parameters({"match-field": f"could not apply filter: invalid regex: {error}"}) from error


_CHECKS: dict[str, tuple[Callable[[NotifyConfig, Entry], None], ...]] = {
    "gotify": (_address("server", loopback.require_url),),
    "sendmail": (_recipients,),
    "smtp": (_recipients, _address("server", loopback.require)),
    "webhook": (_headers, _address("url", loopback.require_url)),
    MATCHER: (_routes, _directives),
}
