"""A simulated datacentre must not reach anyone: only this machine's loopback addresses are ever contacted."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


class NotLoopbackError(ValueError):
    """An address outside this machine; the text says what is possible."""


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require(host: str) -> str:
    if not is_loopback(host):
        raise NotLoopbackError(f"the lab only sends to loopback, not to '{host}': use localhost, 127.0.0.0/8 or ::1")
    return host


def require_url(url: str) -> str:
    """Check the host of an http or https URL; a `file:` or a host hidden behind user information passes neither."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise NotLoopbackError(f"'{url}' is no URL") from error
    if parts.scheme not in ("http", "https"):
        raise NotLoopbackError(f"'{url}' is no http or https URL")
    require(host)
    return url


def endpoint(text: str) -> tuple[str, int]:
    """Read `HOST:PORT` of a lab option."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise NotLoopbackError(f"'{text}' is not HOST:PORT")
    return require(host), int(port)
