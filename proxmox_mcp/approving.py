"""`proxmox-mcp approvals`: what waits for a person, deciding it with an approver's proof, making approvers.

It opens the store of STATE_DIR, so it is run where the service runs, as the same user; the service may run meanwhile.
A secret or code is asked for, or read from a file: never taken from the arguments, which other processes can see.
"""

import argparse
import getpass
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from mqtt_bridge.approvals import Approval, Approvals, Decider, Decision
from mqtt_bridge.approvals import words as told
from mqtt_bridge.approvals.database import FILE
from mqtt_bridge.approvals.deciders import Deciders
from mqtt_bridge.approvals.proofs import CODE_LENGTH, CODE_LETTERS, key_of, new_secret
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.events_cli import plain
from mqtt_bridge.model import utc
from mqtt_bridge.settings import Settings, load
from mqtt_bridge.settings.approval_rows import NAME

SHORTEST = 6  # characters of an id that name it
LISTED = 50
_SMALL = 4096  # bytes of a file with a secret
_CODE = re.compile(rf"(?:[{CODE_LETTERS}][\s-]?){{{CODE_LENGTH}}}", re.IGNORECASE)


async def approvals(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp approvals [list | show ID | approve ID | reject ID | add-approver NAME]`."""
    settings = load(os.environ, arguments.env_file, hosts=False)
    if arguments.action == "add-approver":
        return _add(settings, arguments.id or "")
    if arguments.action != "list" and not arguments.id:
        raise BridgeError("Which approval?", cure="`proxmox-mcp approvals` lists them; the id's beginning is enough.")
    _there(settings.general.state_dir)
    async with Approvals(settings.general.state_dir, settings.approval) as opened:
        if arguments.action == "list":
            return await _list(opened, everything=arguments.all, as_json=arguments.json)
        row = await _find(opened, arguments.id)
        if arguments.action == "show":
            return _show(row, as_json=arguments.json)
        return await _decide(opened, row, arguments)


def _there(folder: Path) -> None:
    """Looking makes no store: an empty one in the wrong place would say that nothing waits."""
    if not (folder / FILE).exists():
        raise BridgeError(
            f"No service has kept approvals in {folder} (STATE_DIR) yet.",
            cure="Give this command the STATE_DIR and the user that the service has.",
        )


async def _find(opened: Approvals, given: str) -> Approval:
    """By its id, or how that begins. Raises BridgeError for none and for several."""
    rows = await opened.recent(1000)
    if len(given) < SHORTEST:
        raise BridgeError(f"{plain(given)!r} is too short.", cure=f"Give at least {SHORTEST} characters of the id.")
    found = [row for row in rows if row.id.startswith(given.lower())]
    if len(found) != 1:
        raise BridgeError(
            f"{'Several approvals begin' if found else 'No approval begins'} with {plain(given)[:40]!r}.",
            cure="`proxmox-mcp approvals list --all` lists them.",
        )
    return found[0]


# --- looks -----------------------------------------------------------------------------------------------------------


async def _list(opened: Approvals, *, everything: bool, as_json: bool) -> int:
    rows = await opened.recent(LISTED) if everything else await opened.pending()
    if as_json:
        print(*(_json(row) for row in rows), sep="\n", end="\n" if rows else "")
        return 0
    width = max((len(_state(row)) for row in rows), default=0)
    for row in rows:  # who asked, and all else, is in `show`
        print(plain(f"{row.id[:8]}  {_state(row):<{width}}  {told.headline(row)}"))
    if not rows:
        print("There was no approval yet." if everything else "Nothing waits for an approval.")
    elif not opened.settings.approvers:
        print(told.NOBODY)
    return 0


def _state(row: Approval) -> str:
    if row.state == "pending":
        return f"waits until {(utc(row.expires_at) or '')[11:16]} UTC"
    return f"{row.state} {f'by {row.decided_by}' if row.decided_by else ''}".strip()


def _show(row: Approval, *, as_json: bool) -> int:
    if as_json:
        print(_json(row))
        return 0
    print(*(plain(line) for line in _lines(row)), sep="\n")
    return 0


def _lines(row: Approval) -> Iterator[str]:
    yield told.headline(row)
    yield f"  {row.id}, {_state(row)}"
    yield from (f"  {line}" for line in told.lines(row, calls=100))
    yield from (f"  {name}: {json.dumps(value)}" for name, value in row.args.items())
    yield f"  Digest: {row.digest}"


def _json(row: Approval) -> str:
    times = {name: utc(getattr(row, name)) for name in ("created_at", "expires_at", "decided_at")}
    return json.dumps({**asdict(row), **times})


# --- decisions -------------------------------------------------------------------------------------------------------


async def _decide(opened: Approvals, row: Approval, arguments: argparse.Namespace) -> int:
    """What is decided is what was shown: its digest goes with the decision."""
    print(*(plain(line) for line in _lines(row)), sep="\n")
    decision: Decision = arguments.action
    decider = await _decider(opened, row, decision, arguments)
    done = await opened.decide(row.id, decision, decider, digest=row.digest)
    print(f"{done.state.capitalize()} by {plain(done.by)}.")
    return 0


async def _decider(opened: Approvals, row: Approval, decision: Decision, arguments: argparse.Namespace) -> Decider:
    if decision == "reject":
        return Decider(arguments.by or getpass.getuser(), "claimed")
    if row.state == "pending" and not opened.settings.approvers:
        raise BridgeError(told.NOBODY)
    who = arguments.by or _asked("Approver's name: ")
    proof = _proof(arguments.proof_file, who)
    deciders = Deciders(opened)
    if _CODE.fullmatch(proof):
        return await deciders.by_code(row.id, decision, who, proof)
    return await deciders.by_secret(row.id, decision, who, proof)


def _proof(file: Path | None, who: str) -> str:
    if file is None:
        question = f"Secret or one-time code of {plain(who)}: "
        return (getpass.getpass(question) if sys.stdin.isatty() else sys.stdin.readline()).strip()
    try:
        with file.expanduser().open("rb") as opened:
            return opened.read(_SMALL).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BridgeError(f"{file} cannot be read as text.", cure="Give the file that has the secret alone.") from error


def _asked(question: str) -> str:
    """On a terminal by a question; else the first line of what comes in."""
    if sys.stdin.isatty():
        return input(question).strip()
    return sys.stdin.readline().strip()


# --- approvers -------------------------------------------------------------------------------------------------------


def _add(settings: Settings, name: str) -> int:
    """Print a new secret once, and the line for the settings. Nothing is written."""
    if not re.fullmatch(NAME, name):
        raise BridgeError(
            "An approver needs a name of letters, digits, . _ @ and -.",
            cure="`proxmox-mcp approvals add-approver alice`",
        )
    if settings.approval.approver(name):
        raise BridgeError(f"{name} is an approver already.", cure="Take the entry out of APPROVERS to replace it.")
    secret = new_secret()
    print(*_instructions(name, secret, first=not settings.approval.approvers), sep="\n")
    return 0


def _instructions(name: str, secret: str, *, first: bool) -> Sequence[str]:
    entry = f"{name}:sha256:{key_of(secret)}"
    where = f"APPROVERS={entry}" if first else f"{entry}        (after a comma, behind those who are there)"
    return (
        f"Secret of {name}, shown this once; whoever has it can approve. Hand it over safely:",
        f"  {secret}",
        "Line for .env (or a line in the file that APPROVERS_FILE names), which takes effect with a restart:",
        f"  {where}",
        f"One-time codes and Discord: append for example ;email={name}@example.org or ;discord=USER_ID.",
    )
