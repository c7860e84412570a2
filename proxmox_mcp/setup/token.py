"""`proxmox-mcp setup token`: the lines that make a fitting user, role and token. Asks nobody and changes nothing."""

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mqtt_bridge.errors import BridgeError, SettingsError
from mqtt_bridge.settings import Kind, Settings, SiteSettings, load
from proxmox_mcp.setup.grants import grants
from proxmox_mcp.setup.lines import Setup
from proxmox_mcp.setup.wanted import Asker, Wanted, from_settings, named
from proxmox_mcp.tools import ALL

USER = "proxmox-mcp"
REALMS: Mapping[Kind, str] = {"pve": "pve", "pbs": "pbs"}
_USER = re.compile(r"[^\s:/!]{1,50}@[A-Za-z][A-Za-z0-9._-]{0,30}")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9._-]{1,60}")
_MISSING = re.compile(r"^(?P<key>[A-Z0-9_]+(?P<what>HOST|USER|TOKEN_NAME|TOKEN_VALUE)) is missing: ")
# What stands in for settings of a host that are still to be made; nothing is asked anywhere.
_STAND_IN = {"HOST": "192.0.2.1", "USER": f"{USER}@pve", "TOKEN_NAME": "none", "TOKEN_VALUE": "0" * 36}


async def token(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp setup token [--pve|--pbs] …`."""
    settings = settings_of(os.environ, arguments.env_file)
    found = list(setups(settings, arguments))
    if arguments.json:
        print(json.dumps([one.as_json() for one in found], indent=2))
    else:
        print("\n\n".join(one.text() for one in found))
    return 0


def settings_of(environ: Mapping[str, str], env_file: Path | None) -> Settings:
    """What is configured, although the token that this is for does not exist yet."""
    try:
        return load(environ, env_file, hosts=False)
    except SettingsError as error:
        missing = [_MISSING.match(line) for line in error.problems]
        lacking = {found["key"]: _STAND_IN[found["what"]] for found in missing if found}
        if len(lacking) != len(missing):
            raise
        return load(environ, env_file, hosts=False, overrides=lacking)


def setups(settings: Settings, arguments: argparse.Namespace) -> Iterator[Setup]:
    """One for each product that is asked for, of the sites that are configured."""
    wanted = _wanted(settings, arguments)
    for kind, site in _places(settings, arguments):
        user = arguments.user or f"{USER}@{REALMS[kind]}"
        _check(user, arguments.name)
        yield Setup(
            kind,
            user,
            arguments.name,
            grants(kind, wanted.needs(kind), arguments.name),
            wanted.left_out(kind),
            site.slug if site else "",
            site.endpoints[0].prefix if site else "",
            arguments.update,
        )


def _wanted(settings: Settings, arguments: argparse.Namespace) -> Wanted:
    found = from_settings(settings, lean=arguments.lean, updates=arguments.updates)
    sets = _sets(arguments.toolsets) if arguments.toolsets else found.read_sets
    if arguments.level is None and not arguments.toolsets:
        return found
    level = arguments.level or settings.permission.mcp_allow
    return Wanted((Asker(level, sets),), sets, found.log, found.images, found.lean, found.updates)


def _sets(text: str) -> frozenset[str]:
    listed = text.replace(",", " ").split()
    known = {"all", *(tool.toolset for tool in ALL), *(tool.name for tool in ALL)}
    if unknown := [name for name in listed if name not in known]:
        raise BridgeError(f"--toolsets: there is no {unknown[0]!r}.", cure="docs/tools.md lists sets and tools.")
    return named(listed)


def _places(settings: Settings, arguments: argparse.Namespace) -> Iterator[tuple[Kind, SiteSettings | None]]:
    """The sites asked for; a product without one is said for no site in particular."""
    kinds: tuple[Kind, ...] = ("pve",) if arguments.pve else ("pbs",) if arguments.pbs else ("pve", "pbs")
    sites = [site for site in settings.sites if arguments.site in {None, site.slug} and site.kind in kinds]
    if arguments.site and not sites:
        known = ", ".join(site.slug for site in settings.sites) or "none"
        raise BridgeError(f"There is no such site {arguments.site!r} here.", cure=f"Configured: {known}.")
    if sites:
        yield from ((site.kind, site) for site in sites)
        return
    yield from ((kind, None) for kind in kinds[:1])


def _check(user: str, name: str) -> None:
    if not _USER.fullmatch(user):
        raise BridgeError(f"{user!r} is not a user of Proxmox.", cure=f"It is NAME@REALM, as in {USER}@pve.")
    if not _TOKEN.fullmatch(name):
        raise BridgeError(
            f"{name!r} is not a token's name.", cure="Two or more letters, digits, dots, dashes; a letter first."
        )
