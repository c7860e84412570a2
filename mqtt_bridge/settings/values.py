"""What a value may look like. Each is a voluptuous validator that can also say, for the docs, what it takes.

No message repeats text that could hold a secret written under the wrong key.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import voluptuous as vol

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_MAX_VMIDS = 100_000
_VMID_RANGE = (100, 999_999_999)
_MAX_PORT = 65535


@dataclass(frozen=True)
class Shape:
    """A validator from text to value. `file`: a path, which in `.env` is relative to its folder."""

    text: str
    parse: Callable[[str], Any]
    file: bool = False

    def __call__(self, value: str) -> Any:
        return self.parse(value)


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise vol.Invalid("is neither true nor false: write true or false (1, yes, on, 0, no, off are fine too)")


BOOLEAN = Shape("true or false", _boolean)


def integer(low: int, high: int) -> Shape:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,12}", text) or not low <= int(text) <= high:
            raise vol.Invalid(f"is not a whole number from {low} to {high}")
        return int(text)

    return Shape(f"number, {low} to {high}", parse)


PORT = integer(1, _MAX_PORT)
LISTEN_PORT = integer(0, _MAX_PORT)


def duration(low: float, high: float, *, plain: str = "s") -> Shape:
    """Seconds from `30`, `30s`, `5m`, `1h`; a number alone is in the unit `plain`. The bounds are seconds."""

    def parse(text: str) -> float:
        found = _DURATION.fullmatch(text)
        seconds = float(found[1]) * _UNITS[(found[2] or plain).lower()] if found else -1
        if not low <= seconds <= high:
            raise vol.Invalid(
                f"is not a time from {_spell(low, plain)} to {_spell(high, plain)}: write for example 30s, 5m or 1h"
                f" (a number alone is in {'milliseconds' if plain == 'ms' else 'seconds'})"
            )
        return seconds

    unit = "milliseconds" if plain == "ms" else "seconds"
    return Shape(f"{unit}, or with a unit: 30s, 5m, 1h; {_spell(low, plain)} to {_spell(high, plain)}", parse)


def _spell(seconds: float, plain: str) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds / _UNITS[plain]:g}{plain}"


def choice(*words: str, aliases: dict[str, str] | None = None) -> Shape:
    """One of the words, in any case; the value is the word as listed here."""
    known = {word.casefold(): word for word in words} | (aliases or {})

    def parse(text: str) -> str:
        if text.casefold() not in known:
            raise vol.Invalid(f"is none of {', '.join(words)}")
        return known[text.casefold()]

    return Shape(f"one of {', '.join(words)}", parse)


def split(text: str) -> tuple[str, ...]:
    """The parts of a comma separated list, without blanks and empty parts, each once, in order."""
    return tuple(dict.fromkeys(part for raw in text.split(",") if (part := raw.strip())))


def words(pattern: str, what: str, *, hint: str = "") -> Shape:
    """A comma separated list whose parts match `pattern`."""

    def parse(text: str) -> tuple[str, ...]:
        for position, part in enumerate(split(text), start=1):
            if not re.fullmatch(pattern, part):
                raise vol.Invalid(f"entry {position} is not {what}{hint and ': ' + hint}")
        return split(text)

    return Shape("list, comma separated", parse)


def choices(*allowed: str, none: bool = False) -> Shape:
    """A comma separated list of the words; with `none`, that word alone is the empty list."""
    listed = ", ".join(allowed)

    def parse(text: str) -> tuple[str, ...]:
        if none and text.casefold() == "none":
            return ()
        parts = tuple(part.casefold() for part in split(text))
        for position, part in enumerate(parts, start=1):
            if part not in allowed:
                raise vol.Invalid(f"entry {position} is none of {listed}")
        return parts

    return Shape(f"list of {listed}{', or none' if none else ''}", parse)


def _vmids(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for position, part in enumerate(split(text), start=1):
        match = re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not _VMID_RANGE[0] <= first <= last <= _VMID_RANGE[1]:
            raise vol.Invalid(f"entry {position} is neither a VMID nor a range of them: write for example 100,200-299")
        if len(found) + last - first >= _MAX_VMIDS:
            raise vol.Invalid(f"covers more than {_MAX_VMIDS} VMIDs: narrow it, or leave it empty to allow all")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


VMIDS = Shape("VMIDs and ranges, e.g. 100,200-299", _vmids)


def matching(pattern: str, what: str, shown: str) -> Shape:
    """Text that matches `pattern`; `what` completes "is not …"."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise vol.Invalid(f"is not {what}")
        return text

    return Shape(shown, parse)


TEXT = matching(r"[^\x00-\x1f\x7f]{1,4096}", "one line of text", "text")
NAME = matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a name: use letters, digits, . _ and - (at most 64)", "name")


def _token(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
        raise vol.Invalid("has blanks or characters that no token has: copy it again, alone")
    if set(text) <= set("xX-"):
        raise vol.Invalid("is still the placeholder: write the secret that Proxmox showed when the token was made")
    return text


TOKEN = Shape("secret", _token)


def _api_secret(text: str) -> str:
    _token(text)
    if "!" in text or "=" in text:
        raise vol.Invalid("holds more than the secret: write the part after the = alone")
    return text


API_SECRET = Shape("secret", _api_secret)


_USER = re.compile(r"(?P<user>[^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]+)(?:!(?P<token>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?")
_TOKEN_NAME = re.compile(
    r"(?:(?P<user>[^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]+)!)?(?P<token>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _user(text: str) -> tuple[str, str | None]:
    if "@" not in text:
        raise vol.Invalid("has no realm: write user@realm, for example proxmox-mcp@pve, or root@pam")
    found = _USER.fullmatch(text)
    if not found:
        raise vol.Invalid("is not user@realm: write for example proxmox-mcp@pve; the token has settings of its own")
    return found["user"], found["token"]


def _token_name(text: str) -> tuple[str | None, str]:
    found = _TOKEN_NAME.fullmatch(text)
    if _UUID.fullmatch(text):
        raise vol.Invalid("looks like the token's secret: write the name it was given, which follows the ! in its id")
    if not found:
        raise vol.Invalid("is not a token's name: write the part after the ! of its id, without the secret")
    return found["user"], found["token"]


USER = Shape("user@realm", _user)
TOKEN_NAME = Shape("name", _token_name)


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise vol.Invalid("begins with a ~ that stands for no home folder: write the whole path") from error


def _existing(text: str) -> Path:
    path = _path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise vol.Invalid(f"names a file that cannot be read ({error.strerror}): {path}") from error


PATH = Shape("path", _path, file=True)
EXISTING_FILE = Shape("path of an existing file", _existing, file=True)


def _fingerprint(text: str) -> str:
    bare = re.sub(r"^(sha-?256\s*(fingerprint)?\s*[=:]\s*)", "", text, flags=re.IGNORECASE).replace(":", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", bare):
        raise vol.Invalid(
            "is not a SHA-256 fingerprint (32 pairs of hex digits): `proxmox-mcp check` shows the one to write"
        )
    return ":".join(bare[i : i + 2] for i in range(0, 64, 2)).upper()


FINGERPRINT = Shape("SHA-256 of the certificate", _fingerprint)


def hostname(text: str) -> str:
    """A host name or IP address without brackets."""
    bare = text.removeprefix("[").removesuffix("]") if text.startswith("[") else text
    if ":" in bare:
        try:
            return ipaddress.IPv6Address(bare).compressed
        except ValueError as error:
            raise vol.Invalid("is neither a host name nor an IP address") from error
    if not _HOSTNAME.fullmatch(bare):
        raise vol.Invalid("is neither a host name nor an IP address")
    return bare


def _host_port(text: str) -> tuple[str, int | None]:
    if "@" in text:
        raise vol.Invalid("has an @: write the host alone; user and token have settings of their own")
    if text.lower().startswith("http://"):
        raise vol.Invalid("begins with http://, but the API speaks https only: write the host alone")
    if "://" in text.lower().removeprefix("https://"):
        raise vol.Invalid("is not a host: write a name or an address, with :port if it differs from the default")
    bare = re.sub(r"^https://", "", text, flags=re.IGNORECASE).split("/", 1)[0]
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", bare)
    if not found:  # an IPv6 address without brackets, or nothing sensible
        return hostname(bare), None
    if found[2] and not 1 <= int(found[2]) <= _MAX_PORT:
        raise vol.Invalid(f"has a port beyond {_MAX_PORT}")
    return hostname(found[1]), int(found[2]) if found[2] else None


HOST = Shape("host name or IP address", hostname)
HOST_PORT = Shape("host name or IP address, with :port if need be", _host_port)


def _hosts(text: str) -> tuple[tuple[str, int | None], ...]:
    found = []
    for position, part in enumerate(split(text), start=1):
        try:
            found.append(_host_port(part))
        except vol.Invalid as error:
            raise vol.Invalid(f"entry {position} {error.msg}") from error
    return tuple(found)


HOSTS = Shape("list of hosts, each with :port if need be", _hosts)


def _topic(text: str) -> str:
    bare = text.strip("/")
    if not bare or not re.fullmatch(r"(?!\$)[^+#\x00-\x1f\x7f]{1,200}", bare) or "//" in bare:
        raise vol.Invalid("is not an MQTT topic: no + # or control characters, no empty level, not beginning with $")
    return bare


TOPIC = Shape("MQTT topic", _topic)
ORIGINS = words(r"https?://[A-Za-z0-9.\[\]:_-]+", "an origin", hint="write for example https://n8n.example.org")
HOST_HEADERS = words(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(\d{1,5}|\*))?", "a host", hint="write for example mcp.example.org:8080"
)
_web_host = words(
    r"(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(:\d{1,5})?",
    "a web host",
    hint="write its name alone, for example cloud.debian.org or *.debian.org",
)
WEB_HOSTS = Shape(_web_host.text, lambda text: tuple(dict.fromkeys(host.lower() for host in _web_host(text))))
URL = matching(r"https?://[^\s\x00-\x1f\x7f]{1,2000}", "a URL that begins with http:// or https://", "URL")
ANY = Shape("text", str)
