"""Stars in place of secrets, for what leaves the process: dry runs, audit records, results, exceptions, logs."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mqtt_bridge.secret import STARS, Secret

# A key is secret when one of these ends it, once lower-cased and freed of `-` and `_`.
SECRET_KEYS = (
    "password", "passwd", "passphrase", "cipassword", "token", "tokenvalue", "secret", "ticket", "cookie",
    "apikey", "privatekey", "keyfile", "encryptionkey", "masterkey", "authorization", "otp", "inputdata", "argv",
)  # fmt: skip
_SEPARATORS = re.compile(r"[-_\s.]")
_API_TOKEN = re.compile(r"(P(?:VE|BS|MG)APIToken[= ]\S+?[=:])[0-9A-Za-z-]{8,}")
_TICKET = re.compile(r"P(?:VE|BS|MG)(?:VNC)?:[^\s:]+:[0-9A-F]{8}::\S+")
_BEARER = re.compile(r"(?i)\b((?:Bearer|Basic|Token)\s+)[A-Za-z0-9._~+/=-]{8,}")
_ASSIGNED = re.compile(r"(?i)\b([\w-]*(?:password|passwd|passphrase|secret|token|api[-_]?key)\s*[=:]\s*)([^\s,;&'\"]+)")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Whether what is stored under `key` must not be shown."""
    return _SEPARATORS.sub("", key).casefold().endswith(SECRET_KEYS)


def redact(value: Any, *, extra: frozenset[str] = frozenset()) -> Any:
    """A copy with JSON types only, and stars for secrets; `extra` are further keys to hide (an agent's `command`)."""
    if isinstance(value, Mapping):
        return {
            str(key): STARS if is_secret(str(key)) or key in extra else redact(item, extra=extra)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item, extra=extra) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((redact(item, extra=extra) for item in value), key=str)
    if value is None or isinstance(value, bool | int | float):
        return value
    return STARS if isinstance(value, Secret) else redact_text(str(value))


def redact_text(text: str) -> str:
    """Free text (a task's log, an error) without API tokens, tickets, `password=…` and what URLs carry."""
    text = _URL.sub(lambda found: redact_url(found[0]), text)
    text = _API_TOKEN.sub(rf"\1{STARS}", text)
    text = _TICKET.sub(STARS, text)
    text = _BEARER.sub(rf"\1{STARS}", text)
    return _ASSIGNED.sub(rf"\1{STARS}", text)


def redact_url(url: str) -> str:
    """A URL without its user info, and with stars for every value in its query; a fragment goes too."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return STARS
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{STARS}@{host}" if "@" in parts.netloc else host
    query = "&".join(_hidden(pair) for pair in parts.query.split("&")) if parts.query else ""
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def _hidden(pair: str) -> str:
    name, given, _ = pair.partition("=")
    return f"{name}={STARS}" if given else STARS
