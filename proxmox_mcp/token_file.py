"""`proxmox-mcp token`: named tokens in MCP_TOKENS_FILE. A token is shown once; the file has only its hash."""

import argparse
import dataclasses
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import voluptuous as vol

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import utc
from mqtt_bridge.settings import tokens
from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.sources import Report, collect
from mqtt_bridge.settings.table import ROWS
from mqtt_bridge.statedir import write_private
from proxmox_mcp.tokens import digest

KEY = "MCP_TOKENS_FILE"
PREFIX = "pmcp_"  # so that a scanner for secrets, and a person, can tell what it is
BYTES = 32  # of randomness
RESTART = "It counts once the server is started again."


async def token(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp token add|list|remove`."""
    path = _path(arguments)
    actions = {"add": _add, "list": _list, "remove": _remove}
    try:
        actions[arguments.action](path, arguments)
    except vol.Invalid as error:
        raise BridgeError(f"{KEY} {error.msg}.") from error
    except OSError as error:
        raise BridgeError(f"{path} cannot be written: {error.strerror}.", cure="Correct the rights.") from error
    return 0


def _path(arguments: argparse.Namespace) -> Path:
    """The file that the settings name, which need be right in nothing else."""
    sources = collect(Report(), os.environ, arguments.env_file)
    path: Path | None = sources.value(dataclasses.replace(ROWS[KEY], shape=v.PATH))
    if path is None:
        raise BridgeError(
            f"{KEY} is not set, so there is no file to keep tokens in.",
            cure=f"Write {KEY}=tokens.json into .env, where the server reads it too.",
        )
    return path


def _add(path: Path, arguments: argparse.Namespace) -> None:
    name = arguments.name
    try:
        tokens.checked_name(name)
    except vol.Invalid as error:
        raise BridgeError(f"The name {name!r} {error.msg}.") from error
    entries = _entries(path)
    if name in entries:
        raise BridgeError(f"There is a token {name!r} already.", cure=f"Remove it first: token remove {name}")
    made = PREFIX + secrets.token_urlsafe(BYTES)
    entries[name] = _entry(made, arguments)
    _write(path, entries)
    print(made)
    print(f"This is the token of {name!r}; it is not shown again. {RESTART}", file=sys.stderr)


def _entry(made: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options say, each list checked by the key that it becomes."""
    entry: dict[str, Any] = {"sha256": digest(made).hex(), "level": arguments.level}
    for key, shape in {"toolsets": tokens.TOOLSETS, **tokens.LISTS}.items():
        text = getattr(arguments, key)
        if text is None:
            continue
        try:
            shape(text)
        except vol.Invalid as error:
            raise BridgeError(f"--{key} {error.msg}.") from error
        entry[key] = list(v.split(text))
    _known(entry.get("toolsets", ()))
    return {**entry, "created": utc(time.time())}


def _known(toolsets: list[str]) -> None:
    """Refuse what is neither a set nor a tool."""
    from proxmox_mcp.tools import ALL  # noqa: PLC0415 -- pulls in every tool

    known = {"all", *(tool.toolset for tool in ALL), *(tool.name for tool in ALL)}
    unknown = [name for name in toolsets if name not in known]
    if unknown:
        sets = ", ".join(sorted({tool.toolset for tool in ALL}))
        raise BridgeError(f"--toolsets: there is no {unknown[0]!r}.", cure=f"Sets are {sets}, all; or name tools.")


def _list(path: Path, arguments: argparse.Namespace) -> None:
    entries = tokens.load(path)
    levels = {each.name: each.level for each in tokens.parse(entries)}
    shown = {name: {"level": levels[name], **_limits(entry)} for name, entry in entries.items()}
    if arguments.json:
        print(json.dumps(shown, indent=2))
        return
    for name, entry in shown.items():
        told = "; ".join(f"{key} {_text(value)}" for key, value in entry.items() if key != "level")
        print(f"{name:<20} {entry['level']:<8} {told}")


def _limits(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in {"sha256", "level"}}


def _text(value: object) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)


def _remove(path: Path, arguments: argparse.Namespace) -> None:
    entries = tokens.load(path)
    if arguments.name not in entries:
        raise BridgeError(
            f"There is no token {arguments.name!r} in {path}.", cure="`token list` shows those there are."
        )
    del entries[arguments.name]
    _write(path, entries)
    print(f"Removed {arguments.name!r}. Until the server is started again it is still let in.", file=sys.stderr)
    if not entries:
        print(f"{path} holds no token now: the server refuses to start until one is added.", file=sys.stderr)


def _entries(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    entries = tokens.load(path)
    tokens.parse(entries)
    return entries


def _write(path: Path, entries: dict[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, json.dumps(entries, indent=2) + "\n")
