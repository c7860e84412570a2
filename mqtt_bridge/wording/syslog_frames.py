"""What stands around a log line: priority, time, host, program, pid. One function for every framing that hosts send.

RFC 3164 and 5424 (octet counts, byte order marks, nil values), rsyslog's file and forward formats, journalctl's short
formats, dmesg, and lines that carry only a part of that. Nothing here raises; what can't be read is the message.
"""

import re
import time
from dataclasses import dataclass, replace
from typing import Final

from mqtt_bridge.wording import syslog_time as clock
from mqtt_bridge.wording.syslog_json import read_json

LINE_LIMIT: Final = 8192
_DMESG_FRACTION: Final = 7  # `dmesg --time-format iso` writes a comma and microseconds
_FACILITY: Final = re.compile(r"(?:kern|user|daemon|auth|syslog) {0,4}:(?P<level>[a-z]{3,6}) {0,3}: (?=\[)")
_LEVELS: Final[dict[str, int]] = {
    "emerg": 0, "alert": 1, "crit": 2, "critical": 2, "err": 3, "error": 3, "warn": 4, "warning": 4, "notice": 5,
    "info": 6, "informational": 6, "debug": 7, **{str(number): number for number in range(8)},
}  # fmt: skip
_FAR: Final = 4e9
_PRIORITY: Final = re.compile(r"(?:\d{1,6} )?<(\d{1,3})>")
_RFC5424: Final = re.compile(
    r"1 (?P<time>\S{1,64}) (?P<host>\S{1,255}) (?P<program>\S{1,128}) (?P<pid>\S{1,128}) \S{1,64} "
    r"(?:-|(?P<data>\[(?:[^\]\"]|\"(?:[^\"\\]|\\.)*\")*\](?:\[(?:[^\]\"]|\"(?:[^\"\\]|\\.)*\")*\]){0,20}))(?: |$)"
)
_TAG: Final = re.compile(
    r"(?:(?P<host>[A-Za-z0-9][\w.:%-]{0,254}) {1,2})?"
    r"(?P<program>[/A-Za-z(][\w.@()/+:\\-]{0,80}?)(?:\[(?P<pid>[\w*]{1,16})\])?(?P<colon>:)(?: {1,3}|$)"
)
_BARE_TAG: Final = re.compile(r"(?P<program>[A-Za-z][\w.@/-]{1,60})\[(?P<pid>\d{1,10}|PID|XXX+)\]:? ?")
_HOST: Final = re.compile(r"(?P<host>[A-Za-z0-9][\w.-]{0,254}) (?=\S)")
_NOT_A_NAME: Final = re.compile(r"[\d.]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.%\w]*")
_SHOUT: Final = frozenset({"INFO", "ERROR", "WARN", "WARNING", "TASK", "NOTICE", "DEBUG", "CRITICAL", "FATAL", "info"})
_NO_TAGS: Final = frozenset({"ipcc_send_rec", "Members", "members", "joined", "left"})  # they, too, end in `[1]:`

# Programs whose name alone, without time and pid, is taken for a program.
_NAMES: Final = frozenset(
    {
        "kernel",
        "systemd",
        "sshd",
        "pmxcfs",
        "corosync",
        "pvedaemon",
        "pveproxy",
        "pvestatd",
        "pvescheduler",
        "pve-ha-crm",
        "pve-ha-lrm",
        "pve-firewall",
        "pve-guests",
        "watchdog-mux",
        "qmeventd",
        "smartd",
        "mdadm",
        "zed",
        "chronyd",
        "sudo",
        "su",
        "CRON",
        "cron",
        "proxmox-backup-proxy",
        "proxmox-backup-api",
        "proxmox-firewall",
        "qm",
        "pct",
        "vzdump",
        "ceph-mon",
        "ceph-osd",
        "ceph-mgr",
        "spiceproxy",
        "lxc-start",
        "postfix",
    }
)


@dataclass(frozen=True, slots=True)
class Frame:
    """A line taken apart. `host` is short, None if the line names none; `priority` is 0 (emergency) to 7 (debug)."""

    message: str
    program: str = ""
    host: str | None = None
    pid: str | None = None
    priority: int | None = None
    at: float | None = None


def short_host(name: str | None) -> str | None:
    """A host name without its domain; None for an address and for RFC 5424's nil."""
    if not name or name == "-" or _NOT_A_NAME.fullmatch(name):
        return None
    return name.split(".", 1)[0] or None


def text_of(raw: str | bytes) -> str:
    """`raw` as text of at most LINE_LIMIT characters, without line ends, byte order mark and NUL."""
    text = raw[: 4 * LINE_LIMIT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    text = text[:LINE_LIMIT]
    if "\0" in text:
        text = text.replace("\0", " ")
    return text.strip("\ufeff \t\r\n")


def read_frame(raw: str | bytes, now: float | None = None) -> Frame:
    """Takes a line apart. `now` (Unix seconds) tells the year of a line that has none."""
    text = text_of(raw)
    if text.startswith("{"):
        told = read_json(text)
        if told:
            return _from_json(told, now)
    now = time.time() if now is None else now
    found = _PRIORITY.match(text)
    if not found:
        return _timed(text, now) if not text.startswith("1 ") else (_rfc5424(text, None) or _timed(text, now))
    priority, rest = int(found[1]) & 7, text[found.end() :]
    modern = _rfc5424(rest, priority)
    if modern:
        return modern
    frame = _timed(rest, now)  # `replace` costs five times as much as writing it out, and this is nearly every line
    return Frame(frame.message, frame.program, frame.host, frame.pid, priority, frame.at)


def _from_json(told: dict[str, str], now: float | None) -> Frame:
    """What a JSON line tells; where it names no program, its message may be a whole line itself."""
    stamp = told.get("at")
    at = float(stamp) if stamp else None
    priority = _LEVELS.get(told.get("priority", "").lower())
    host, message = short_host(told.get("host")), told.get("message", "")
    if "program" not in told:
        inner = read_frame(message, now) if not message.startswith("{") else Frame(message)
        return replace(
            inner, host=inner.host or host, priority=inner.priority if priority is None else priority, at=inner.at or at
        )
    return Frame(_unstamped(message), _program(told["program"]), host, told.get("pid"), priority, at)


def _rfc5424(text: str, priority: int | None) -> Frame | None:
    found = _RFC5424.match(text)
    if not found:
        return None
    message = text[found.end() :].lstrip("\ufeff")
    stamp = clock.ISO.match(found["time"])
    at = clock.iso_time(stamp) if stamp else None
    host = short_host(found["host"])
    if found["program"] == "-":
        tagged = _tagged(message, host_too=False)
        return replace(tagged, host=host, priority=priority, at=at)
    pid = None if found["pid"] == "-" else found["pid"]
    return Frame(_unstamped(message), _program(found["program"]), host, pid, priority, at)


def _timed(text: str, now: float) -> Frame:
    """The line after its priority: some form of time, then host and tag."""
    found = clock.CLASSIC.match(text)
    if found and clock.is_month(found["mon"]):
        return _tagged(text[found.end() :], host_too=True, at=clock.classic_time(found, now))
    if text[:1].isdigit():
        return _digits(text, now)
    found = clock.WEEKDAY_ISO.match(text)
    if found:
        return _tagged(text[found.end() :], host_too=True, at=clock.iso_time(found))
    found = clock.BRACKETED.match(text)
    if found:
        return Frame(text[found.end() :], "kernel", at=clock.classic_time(found, now))
    found = _FACILITY.match(text)
    level = _LEVELS.get(found["level"]) if found else None
    rest = text[found.end() :] if found else text
    since = clock.SINCE_BOOT.match(rest)
    if since:
        return replace(_since_boot(rest[since.end() :]), priority=level)
    return Frame(rest, "kernel", priority=level) if found else _untimed(text)


def _digits(text: str, now: float) -> Frame:
    """The same for a line that begins with a digit: ISO 8601, `5月 17 …`, seconds, or only a clock."""
    found = clock.ISO.match(text)
    if found:
        if len(found["comma"] or "") == _DMESG_FRACTION and found["comma"][0] == "," and found["zone"]:
            return Frame(_unstamped(text[found.end() :]), "kernel", at=clock.iso_time(found))
        host_too = (found["comma"] or ".")[0] == "." and not found[0].rstrip().endswith(":")
        return _tagged(text[found.end() :], host_too=host_too, at=clock.iso_time(found))
    found = clock.CLOCK.match(text)
    if found:
        return _tagged(text[found.end() :], host_too=True)
    found = clock.EASTERN.match(text)
    if found:
        return _tagged(text[found.end() :], host_too=True, at=clock.classic_time(found, now))
    found = clock.UNIX.match(text)
    if found and float(found["unix"]) < _FAR:
        return _tagged(text[found.end() :], host_too=True, at=float(found["unix"]))
    return _untimed(text)


def _since_boot(text: str) -> Frame:
    """What dmesg prints; some consoles, and journalctl's short-monotonic, put a host and a tag behind the time."""
    found = _TAG.match(text)
    if found and (found["program"] == "kernel" or (found["host"] and found["pid"])):
        return Frame(
            _unstamped(text[found.end() :]), _program(found["program"]), short_host(found["host"]), found["pid"]
        )
    return Frame(text, "kernel")


def _tagged(text: str, *, host_too: bool, at: float | None = None) -> Frame:
    """`host program[pid]: message`, where `host` and the tag may be missing."""
    found = _TAG.match(text)
    if found and found["program"] not in _SHOUT and (host_too or not found["host"]):
        host, program, pid = found["host"], found["program"], found["pid"]
        sure = pid is not None or program in _NAMES or (host is not None and host_too)
        if sure:
            return Frame(_unstamped(text[found.end() :]), _program(program), short_host(host), pid, at=at)
    found = _BARE_TAG.match(text)
    if found:
        return Frame(text[found.end() :], _program(found["program"]), None, found["pid"], at=at)
    return _host_only(text, at) if host_too else Frame(_unstamped(text), at=at)


def _host_only(text: str, at: float | None) -> Frame:
    """`host program[pid] message` without a colon, or a host before a message without a tag."""
    found = _HOST.match(text)
    if not found or found["host"] in _SHOUT:
        return Frame(text, at=at)
    rest = text[found.end() :]
    tag = _BARE_TAG.match(rest)
    if tag:
        return Frame(rest[tag.end() :], _program(tag["program"]), short_host(found["host"]), tag["pid"], at=at)
    if rest.startswith(("last message repeated", "-- MARK --")):
        return Frame(rest, host=short_host(found["host"]), at=at)
    if clock.SINCE_BOOT.match(rest):
        return Frame(_unstamped(rest), "kernel", short_host(found["host"]), at=at)
    return Frame(text, at=at)


def _untimed(text: str) -> Frame:
    """A line without a time: `program[pid]: …`, `kernel: …`, or just the message."""
    found = _TAG.match(text)
    told = found["program"] if found else ""
    if found and told not in _SHOUT and told not in _NO_TAGS and (found["pid"] or told in _NAMES):
        return Frame(
            _unstamped(text[found.end() :]), _program(found["program"]), short_host(found["host"]), found["pid"]
        )
    bare = _BARE_TAG.match(text)
    if bare and bare["program"] not in _NO_TAGS:
        return Frame(text[bare.end() :], _program(bare["program"]), None, bare["pid"])
    return Frame(text[7:], "kernel") if text.startswith("kernel ") else Frame(text)


def _program(name: str) -> str:
    """A program's name: without its path, and without `.service` (journalctl --output=with-unit)."""
    if name.startswith("/"):
        name = name.rsplit("/", 1)[-1]
    if name == "init.scope":
        return "systemd"
    return name.removesuffix(".service")


def _unstamped(message: str) -> str:
    """A kernel message without its seconds since boot."""
    if message.startswith("["):
        found = clock.SINCE_BOOT.match(message)
        if found:
            return message[found.end() :]
    return message
