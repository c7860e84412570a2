"""An error status of Proxmox becomes one of ours, once. What the texts look like: recorded from PVE 9.2 and PBS 4."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mqtt_bridge.errors import (
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    ProxmoxError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
)
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.settings import Endpoint

MAYBE_DONE = "It was sent, so it may have been carried out: look at the task list before asking again."
MAX_TEXT = 400  # characters of Proxmox's own text that reach a message
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_HTML = re.compile(r"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)

_DENIED_PVE = re.compile(r"Permission check failed \((?P<path>/[^,()]*), (?P<privilege>[A-Za-z.|]+)\)")
_DENIED_PBS = re.compile(r"missing permissions '(?P<privilege>[A-Za-z.|&]+)' on '(?P<path>/[^']*)'")

# Only texts that say that the thing itself does not exist: the inventory takes them as proof.
_GONE = re.compile(
    r"^Configuration file '.*' does not exist"
    r"|^unable to find configuration file for (VM|CT)"
    r"|^hostname lookup '.*' failed"
    r"|^no such (VM|CT|guest|node|task|storage|datastore|namespace|user|group|realm|pool|role|job|resource|snapshot)\b"
    r"|^(storage|snapshot|pool|volume|datastore|user|group|role|realm|replication job) '?.*'? does not exist"
    r"|^(VM|CT) \d+ (does not exist|not found)"
    r"|^volume .* (not found|does not exist)"
    r"|^no such cluster node",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with status >= 400. `node` is the one that a /nodes/X/… path is about."""

    status: int
    reason: str
    body: Any
    method: str
    path: str
    node: str | None

    @property
    def text(self) -> str:
        """Proxmox's own words, if it used any: in the body (PVE as JSON, PBS as text), else in the status line."""
        if isinstance(self.body, Mapping) and self.body.get("message"):
            return clean(str(self.body["message"]))
        if isinstance(self.body, str) and self.body.strip() and not _HTML.match(self.body):
            return clean(self.body)
        return clean(self.reason)

    @property
    def fields(self) -> dict[str, str]:
        """What was wrong with which parameter."""
        found = self.body.get("errors") if isinstance(self.body, Mapping) else None
        return {str(k): clean(str(v)) for k, v in found.items()} if isinstance(found, Mapping) else {}


def clean(text: str) -> str:
    """One line, printable, capped: it comes from outside."""
    line = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def answer_error(reply: Reply, endpoint: Endpoint) -> ProxmoxError:
    """The error for an answer with status >= 400."""
    text = reply.text
    if reply.status == 401:  # noqa: PLR2004
        return _unauthorized(text, endpoint)
    if denied := _DENIED_PVE.search(text) or _DENIED_PBS.search(text):
        return _forbidden(text, denied["path"], denied["privilege"], endpoint)
    if reply.status == 403:  # noqa: PLR2004
        return ForbiddenError(
            f"{endpoint.name} refuses {reply.method} /{reply.path} to {_who(endpoint)}: {text}.",
            cure="This call needs a privilege that the token does not have, or is not allowed to tokens at all.",
            host=endpoint.name,
        )
    if reply.status in {595, 596, 597, 599}:
        return _node_down(reply, text, endpoint)
    if reply.status in {502, 503, 504}:
        return UnreachableError(
            f"{endpoint.name} answers {reply.status} {text}: what stands in front of the API cannot reach it.",
            cure=_maybe_done(reply) or "Look at pveproxy, or the reverse proxy, on that host.",
            status=reply.status,
            host=endpoint.name,
        )
    return _refused(reply, text, endpoint)


def _who(endpoint: Endpoint) -> str:
    return f"the token {endpoint.user}!{endpoint.token_name}"


def _unauthorized(text: str, endpoint: Endpoint) -> UnauthorizedError:
    return UnauthorizedError(
        f"{endpoint.name} ({endpoint.url}) does not accept {_who(endpoint)}: {text.rstrip('.!')}.",
        cure="The token's value is wrong, or it has expired, was disabled or deleted: make a new one and set it.",
        status=401,
        host=endpoint.name,
    )


def _forbidden(text: str, path: str, privilege: str, endpoint: Endpoint) -> ForbiddenError:
    lines = grant_lines(endpoint.kind, path, privilege, endpoint.user, endpoint.token_name)
    return ForbiddenError(
        f"The token {endpoint.user}!{endpoint.token_name} lacks {privilege} on {path} ({text}).",
        cure=f"Run as root on the Proxmox host: {lines}",
        host=endpoint.name,
        path=path,
        privilege=privilege,
    )


def _maybe_done(reply: Reply) -> str:
    """595 means that the node was never reached; the others say nothing about what it did."""
    return MAYBE_DONE if reply.method != "GET" and reply.status not in {503, 595} else ""


def _node_down(reply: Reply, text: str, endpoint: Endpoint) -> UnreachableError:
    if reply.node:
        return UnreachableError(
            f"Node {reply.node} does not answer: {endpoint.name} could not pass the call on ({reply.status} {text}).",
            cure=_maybe_done(reply) or f"Is {reply.node} switched on, and do pveproxy and pvedaemon run there?",
            status=reply.status,
            host=endpoint.name,
        )
    return UnreachableError(
        f"{endpoint.name} could not pass {reply.method} /{reply.path} on: {reply.status} {text}.",
        cure="Do pveproxy and pvedaemon run there?",
        status=reply.status,
        host=endpoint.name,
    )


def _refused(reply: Reply, text: str, endpoint: Endpoint) -> ProxmoxError:
    fields = reply.fields
    details = "; ".join(f"{key}: {value}" for key, value in fields.items())
    if _GONE.search(text) or fields.get("upid") == "no such task":
        return NotFoundError(f"{details or text}.", status=reply.status, host=endpoint.name)
    if isinstance(reply.body, str) and _HTML.match(reply.body):
        return not_proxmox(endpoint, f"an HTML page with status {reply.status}")
    if reply.status == 501:  # noqa: PLR2004
        return RejectedError(
            f"{endpoint.name} has no {reply.method} /{reply.path}.",
            cure="This release of Proxmox does not offer it.",
            status=501,
            host=endpoint.name,
        )
    said = f"{text} ({details})" if details else text
    return RejectedError(
        f"Proxmox refused {reply.method} /{reply.path}: {said}", status=reply.status, host=endpoint.name, fields=fields
    )


def not_proxmox(endpoint: Endpoint, what: str) -> ProtocolError:
    """`what` came where a Proxmox API was expected."""
    product = "Proxmox VE (8006)" if endpoint.kind == "pve" else "Proxmox Backup Server (8007)"
    return ProtocolError(
        f"{endpoint.url} sent {what}, not an answer of the Proxmox API.",
        cure=f"Check host and port: {product} must be reached directly, without a login page in between.",
        host=endpoint.name,
    )
