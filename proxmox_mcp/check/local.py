"""This machine: the port of MCP over HTTP, STATE_DIR, and what the settings themselves want said."""

import asyncio
import errno
import ipaddress
import os
import shutil
import socket
import stat
import tempfile
from contextlib import closing
from pathlib import Path

from mqtt_bridge import statedir
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.journal.journal import FILE as JOURNAL
from mqtt_bridge.journal.journal import open_reader
from mqtt_bridge.settings import Settings
from proxmox_mcp.check import wire
from proxmox_mcp.check.findings import Finding

_SUBJECT = "this machine"
ROOM = 16 * 1024 * 1024  # bytes that the journal has to have
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


async def check_port(settings: Settings, limit: float) -> list[Finding]:
    """Free to listen on, or already ours."""
    host, port = settings.mcp.host, settings.mcp.port
    if not port:
        return [Finding(_SUBJECT, "mcp port", None, "MCP_HTTP_PORT=0: any free port is taken")]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(limit):
            address = (await wire.resolve(host, port))[0]
            _bind(address, port)
    except TimeoutError:
        return [Finding(_SUBJECT, "mcp port", False, f"{host} could not be resolved in time", "Check MCP_HTTP_HOST.")]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return [await _in_use(address, port, where)]
        why = error.strerror or type(error).__name__
        cure = "Write an address of this machine into MCP_HTTP_HOST, and a port above 1023 into MCP_HTTP_PORT."
        return [Finding(_SUBJECT, "mcp port", False, f"cannot listen at {where}: {why}", cure)]
    return [Finding(_SUBJECT, "mcp port", True, f"{where} is free")]


def _bind(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        trial.bind((address, port))
        trial.listen()


async def _in_use(address: str, port: int, where: str) -> Finding:
    if ipaddress.ip_address(address).is_unspecified:
        address = "::1" if ":" in address else "127.0.0.1"
    try:
        reply = await wire.get(address, port, "/mcp", host="localhost")
    except OSError:  # TimeoutError is one
        reply = wire.Reply(0, "", {}, b"")
    challenge = reply.headers.get("www-authenticate", "").casefold().startswith("bearer")
    if reply.status in _MCP_ANSWERS and (challenge or b"jsonrpc" in reply.body):
        return Finding(_SUBJECT, "mcp port", True, f"an MCP server already answers at {where}/mcp")
    cure = "Stop what uses it (ss -ltnp shows it), or choose another MCP_HTTP_PORT."
    return Finding(_SUBJECT, "mcp port", False, f"{where} is used by another program", cure)


_MCP_ANSWERS = frozenset({400, 401, 405, 406})


async def check_state_dir(settings: Settings, limit: float) -> list[Finding]:
    """Whether we can write there; it is not created."""
    del limit
    path = settings.general.state_dir
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    cure = "Set STATE_DIR to a folder that you may write to."
    if not place.is_dir():
        return [Finding(_SUBJECT, "state dir", False, f"{place} is not a folder", cure)]
    try:
        _write(place)
    except OSError as error:
        return [Finding(_SUBJECT, "state dir", False, f"cannot write to {place}: {error.strerror}", cure)]
    made = "" if place == path else f" (will be made in {place})"
    findings = [Finding(_SUBJECT, "state dir", True, f"{path} is writable{made}")]
    if place == path and os.name == "posix" and path.stat().st_mode & _OTHERS:
        findings.append(Finding(_SUBJECT, "state dir", None, f"{path} is open to other users", f"chmod 700 {path}"))
    findings += _journal(path)
    if statedir.local_owner(path):
        findings.append(Finding(_SUBJECT, "bridge", None, "a bridge runs with this STATE_DIR"))
    return findings


def _journal(state_dir: Path) -> list[Finding]:
    """Whether the journal there can be read by this version, and has room to grow."""
    found = []
    path = state_dir / JOURNAL
    if path.exists():
        try:
            with closing(open_reader(path)):
                found.append(Finding(_SUBJECT, "journal", True, f"{path} can be read"))
        except BridgeError as error:
            found.append(Finding(_SUBJECT, "journal", False, error.message, error.cure))
    if state_dir.exists() and (free := shutil.disk_usage(state_dir).free) < ROOM:
        told = f"only {free // 1024} KiB are free in {state_dir}: events cannot be written down"
        found.append(Finding(_SUBJECT, "disk", False, told, "Make room there, or set STATE_DIR to another disk."))
    return found


def _write(place: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=place, prefix=".check-"):
        pass


async def check_settings(settings: Settings, limit: float) -> list[Finding]:
    """What is set and has no effect, or deserves a second thought."""
    del limit
    return [Finding("settings", "note", None, sentence) for sentence in (*settings.warnings, *settings.unavailable)]
