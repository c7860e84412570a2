"""`proxmox-mcp silence` and `proxmox-mcp incidents`: maintenance and what is wrong, in the journal of the notifiers.

They write to the journal's database beside whatever runs: the notifiers look there before each word that they say. So
they are run where the notifiers run, with the same STATE_DIR, and need no broker.
"""

import argparse
import getpass
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.events_cli import plain
from mqtt_bridge.journal.file import translated
from mqtt_bridge.journal.journal import FILE, open_reader
from mqtt_bridge.model import utc
from mqtt_bridge.notifying import incident_book, silences
from mqtt_bridge.notifying.deciding import Decider
from mqtt_bridge.notifying.incidents import Incident
from mqtt_bridge.notifying.maintenance import beside
from mqtt_bridge.notifying.notices import length
from mqtt_bridge.notifying.silences import Scope, Silence
from mqtt_bridge.settings import Settings, load
from mqtt_bridge.topics import SITE_SLUG

T = TypeVar("T")
MINUTE = 60.0
SHORTEST = 4  # characters of an incident's id that name it
_SCOPES: dict[str, Scope] = {"site": "site", "node": "node", "guest": "guest", "tag": "tag"}


async def silence(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp silence TARGET DURATION`, `--list`, `--end ID`."""
    settings = load(os.environ, arguments.env_file, hosts=False)
    path = settings.general.state_dir / FILE
    if arguments.end:
        return _end(path, arguments.end)
    if arguments.list:
        return _list(path, as_json=arguments.json)
    if not arguments.target or not arguments.duration:
        raise BridgeError(
            "What is to be silent, and for how long?",
            cure="For example `proxmox-mcp silence pve1 2h`; --list shows all.",
        )
    scope, site, target = where(settings, arguments.target, arguments.site)
    held = silences.duration(arguments.duration)
    one = silences.silence(scope, site, target, time.time(), held, arguments.reason, getpass.getuser())
    beside(path, lambda connection: silences.add(connection, one))
    print(f"Silent until {_clock(one.until)}: {_what(one)}. End it: proxmox-mcp silence --end {one.id}")
    _notes(settings, path, one)
    return 0


def where(settings: Settings, text: str, site: str | None) -> tuple[Scope, str, str]:
    """Scope, site and target of `lab`, `pve1`, `100`, `tag:web`, `node:pve1`; an empty site is every one."""
    known = [one.slug for one in settings.sites]
    prefix, colon, rest = text.partition(":")
    if colon and prefix not in _SCOPES:
        raise BridgeError(f"{text[:60]!r} is nothing that can be silent.", cure="Write site:, node:, guest: or tag:.")
    name = (rest if colon else text).strip()
    scope = _SCOPES[prefix] if colon else _guess(name, known)
    if scope == "site":
        return scope, _site(name, known), ""
    if not name or not name.isprintable() or (scope == "guest" and not name.isdecimal()):
        raise BridgeError(f"{text[:60]!r} names no {scope}.", cure="A guest is a number; a node and a tag have a name.")
    if site is None and scope != "tag":
        homes = _homes(settings, name) if scope == "node" else known
        site = homes[0] if len(homes) == 1 else known[0] if len(known) == 1 else None
    return scope, _site(site, known) if site else "", name


def _homes(settings: Settings, node: str) -> list[str]:
    """The sites that have a host of this name in the settings."""
    return [
        site.slug for site in settings.sites if any(one.name.casefold() == node.casefold() for one in site.endpoints)
    ]


def _guess(name: str, known: list[str]) -> Scope:
    if name.isdecimal():
        return "guest"
    return "site" if name in known else "node"


def _site(name: str, known: list[str]) -> str:
    if (known and name not in known) or not SITE_SLUG.fullmatch(name):
        told = f"Sites: {', '.join(known)}." if known else "It is the site's name as in its MQTT topics."
        raise BridgeError(f"There is no site {name[:60]!r}.", cure=told)
    return name


def _notes(settings: Settings, path: Path, one: Silence) -> None:
    """What may not be as it was meant."""
    if not settings.notify.enabled:
        print("note: no notifier is enabled in these settings: run this where the notifiers run.", file=sys.stderr)
    if one.scope == "node" and not _homes(settings, one.target):
        sql = "SELECT EXISTS (SELECT 1 FROM events), EXISTS (SELECT 1 FROM events WHERE node = ? COLLATE NOCASE)"
        some, known = _read(path, lambda connection: connection.execute(sql, [one.target]).fetchone())
        if some and not known:
            print(f"note: the journal has no event of a node {one.target!r}: is it spelt right?", file=sys.stderr)


def _end(path: Path, identity: str) -> int:
    if not beside(path, lambda connection: silences.end(connection, identity, time.time())):
        raise BridgeError(
            f"There is no silence {identity[:60]!r}.", cure="`proxmox-mcp silence --list` shows their ids."
        )
    print("It ends now: what is still wrong is told.")
    return 0


def _list(path: Path, *, as_json: bool) -> int:
    now = time.time()
    found = [one for one in _read(path, silences.every) if one.until > now]
    for one in found:
        if as_json:
            print(json.dumps(asdict(one) | {"since": utc(one.since), "until": utc(one.until)}, ensure_ascii=False))
            continue
        about = ", ".join(part for part in (f"by {one.by}" if one.by else "", one.reason) if part)
        left = length(max(MINUTE, (one.until - now) // MINUTE * MINUTE))
        print(
            plain(f"{one.id}  until {_clock(one.until)} ({left} left)  {_what(one)}{f'  ({about})' if about else ''}")
        )
    if not found:
        print("Nothing is silent.", file=sys.stderr)
    return 0


def _what(one: Silence) -> str:
    if one.scope == "site":
        return f"site {one.site}"
    return f"{one.scope} {one.target}" + (f" of site {one.site}" if one.site else " of every site")


# --- incidents -------------------------------------------------------------------------------------------------------


async def incidents(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp incidents`, and `proxmox-mcp incidents acknowledge ID`."""
    settings = load(os.environ, arguments.env_file, hosts=False)
    path = settings.general.state_dir / FILE
    if arguments.action == "acknowledge":
        return _acknowledge(path, arguments.id, arguments.by or getpass.getuser())
    now = time.time()
    found = _read(path, incident_book.current)
    for one in reversed(found):
        print(json.dumps(_row(one), ensure_ascii=False) if arguments.json else _line(one, now))
    if not found:
        print("Nothing is wrong that a notifier was asked to tell of.", file=sys.stderr)
    return 0


def _acknowledge(path: Path, which: str | None, by: str) -> int:
    if not which:
        raise BridgeError("Which incident?", cure="`proxmox-mcp incidents` shows their ids.")

    def work(connection: sqlite3.Connection) -> Incident | None:
        fits = [one.id for one in incident_book.current(connection) if one.id.startswith(which)]
        identity = fits[0] if len(fits) == 1 and len(which) >= SHORTEST else which
        return Decider.acknowledge(connection, identity, by, time.time())

    incident = beside(path, work)
    if incident is None:
        raise BridgeError(f"There is no incident {which[:60]!r}.", cure="`proxmox-mcp incidents` shows their ids.")
    print(plain(f"Acknowledged: {incident.title}. No reminders and updates; its end, and what is worse, is told."))
    return 0


def _row(one: Incident) -> dict[str, object]:
    return {
        "id": one.id,
        "title": one.title,
        "severity": one.severity,
        "site": one.last.site,
        "node": one.last.node,
        "guest": one.last.guest,
        "began": utc(one.began),
        "changed": utc(one.changed),
        "affected": list(one.folded),
        "acknowledged": one.acknowledged,
    }


def _line(one: Incident, now: float) -> str:
    more = f"; affected: {', '.join(one.folded)}" if one.folded else ""
    known = f"  [acknowledged by {one.acknowledged}]" if one.acknowledged else ""
    since = length(max(0.0, now - one.began))
    return plain(f"{one.id[:8]}  {one.severity:<8}  {one.last.site}  {one.title}{more}  for {since}{known}")


# --- the journal -----------------------------------------------------------------------------------------------------


def _read(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    try:
        with closing(open_reader(path)) as connection:
            return work(connection)
    except sqlite3.Error as error:
        raise translated(str(path), error) from error


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
