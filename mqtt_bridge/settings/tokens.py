"""MCP_TOKENS_FILE: named tokens of MCP clients, each with a level, toolsets and allow-lists of its own.

The file holds the SHA-256 of each token, which is 256 random bits: nothing in it lets anyone in. It decides what a
token may do, though, so it must be private. `proxmox-mcp token` writes it.
"""

import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import voluptuous as vol

from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.types import LEVELS, Limits, NamedToken

RESERVED = frozenset({"default", "http"})  # MCP_AUTH_TOKEN, and whoever comes where no token is asked for
MAX_BYTES = 256 * 1024
_SHOWN = 5  # mistakes that are told at once
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_DIGEST = v.matching(r"[0-9a-f]{64}", "the SHA-256 of a token in hex, as `proxmox-mcp token add` writes it", "SHA-256")


def _list(shape: v.Shape) -> Callable[[object], frozenset[Any]]:
    """A JSON list whose entries are those of a setting. An empty one admits nothing."""

    def parse(value: object) -> frozenset[Any]:
        if not isinstance(value, list) or any(isinstance(e, bool) or not isinstance(e, str | int) for e in value):
            raise vol.Invalid('is not a list: write for example ["one", "two"]')
        return frozenset(shape(",".join(str(entry) for entry in value)))

    return parse


def _text(shape: v.Shape) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise vol.Invalid("is not text in quotes")
        return str(shape(value))

    return parse


TOOLSETS = v.words(r"[a-z][a-z0-9_]{1,63}", "a set of tools or a tool's name", hint="write for example core,power")
LISTS: dict[str, v.Shape] = {
    "nodes": v.words(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", "a node's short name"),
    "vmids": v.VMIDS,
    "pools": v.words(r"[A-Za-z0-9/._-]{1,256}", "a pool's name"),
    "sites": v.words(r"[a-z0-9_-]{1,64}", "a site's name as in its topics"),
}
_ENTRY: dict[object, object] = {
    vol.Required("sha256", msg="is missing"): _text(_DIGEST),
    vol.Optional("level"): _text(v.choice(*LEVELS)),
    vol.Optional("toolsets"): _list(TOOLSETS),
    vol.Optional("created"): _text(v.TEXT),
    **{vol.Optional(key): _list(shape) for key, shape in LISTS.items()},
}
_SCHEMA = vol.Schema(_ENTRY)


def read(text: str) -> tuple[NamedToken, ...]:
    """The tokens of the file at this path. Raises vol.Invalid with every mistake, by name and key."""
    tokens = parse(load(Path(text).expanduser()))
    if not tokens:
        raise vol.Invalid(f"names {text}, which holds no token: `proxmox-mcp token add NAME` makes one")
    return tokens


def load(path: Path) -> dict[str, Any]:
    """The file as it is written. Raises vol.Invalid where it is missing, not private, too large or no JSON object."""
    try:
        with path.open("rb") as file:
            _private(path, os.fstat(file.fileno()))
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise vol.Invalid(f"names {path}, which is not there: `proxmox-mcp token add NAME` makes it") from None
    except OSError as error:
        raise vol.Invalid(f"names {path}, which cannot be read ({error.strerror}): correct its rights") from error
    if len(raw) > MAX_BYTES:
        raise vol.Invalid(f"names {path}, which is larger than {MAX_BYTES // 1024} KiB")
    try:
        content = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise vol.Invalid(f"names {path}, which is not JSON: {_where(error)}") from error
    if not isinstance(content, dict):
        raise vol.Invalid(f"names {path}, which is not a JSON object of entries by name")
    return content


def _private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise vol.Invalid(f"names {path}, which is no file")
    if sys.platform != "win32" and found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise vol.Invalid(f"names {path}, which others may use (mode {mode:04o}): run `chmod 600 {path}`")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{twice[0]!r} is in it twice")
    return dict(pairs)


def _where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} in line {error.lineno}"
    return str(error) if isinstance(error, ValueError) else "nested too deeply"


def parse(content: dict[str, Any]) -> tuple[NamedToken, ...]:
    """Entries by name to tokens. Raises vol.Invalid naming each wrong key as `name.key`."""
    problems: list[str] = []
    tokens = [token for name, entry in content.items() if (token := _token(name, entry, problems))]
    digests = [token.digest for token in tokens]
    problems += [f"{t.name}.sha256 is that of another entry too" for t in tokens if digests.count(t.digest) > 1][1:]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise vol.Invalid(f"is not right: {'; '.join(problems[:_SHOWN])}{more}")
    return tuple(tokens)


def checked_name(name: str) -> str:
    """A token's name; raises vol.Invalid."""
    v.NAME(name)
    if name in RESERVED:
        raise vol.Invalid("is reserved: take another name")
    return name


def _token(name: str, entry: object, problems: list[str]) -> NamedToken | None:
    try:
        checked_name(name)
        found = _SCHEMA(entry)
    except vol.MultipleInvalid as error:
        problems += [_told(name, each) for each in error.errors]
        return None
    except vol.Invalid as error:
        problems.append(f"{name!r} {error.msg}")
        return None
    return NamedToken(
        name,
        found["sha256"],
        level=found.get("level", "read"),
        toolsets=found.get("toolsets"),
        limits=Limits(found.get("nodes"), found.get("vmids"), found.get("pools"), found.get("sites")),
        created=found.get("created", ""),
    )


def _told(name: str, error: vol.Invalid) -> str:
    path: Sequence[object] = error.path
    key = ".".join([name, *(str(part) for part in path[:1])])
    if not path:
        return f'{name} is not an object: write {{"sha256": …, "level": …}}'
    if error.msg == "extra keys not allowed":
        return f"{key} is no key of an entry (there are {', '.join(str(k) for k in _ENTRY)})"
    return f"{key} {error.msg}"


TOKENS = v.Shape("path of a file that `proxmox-mcp token` writes", read, file=True)
