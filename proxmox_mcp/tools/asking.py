"""Asking Proxmox itself what the mirror does not have: several hosts at once, and one that is silent is only a note.

Guests and nodes are looked up in the mirror, which costs nothing, and in Proxmox where it does not know them yet. Names
become parts of paths: `proxmox.segments` refuses those that would lead elsewhere.
"""

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ConfigDict

from mqtt_bridge.errors import BridgeError, NotFoundError, ProxmoxError, UnknownTargetError, UnreachableError
from mqtt_bridge.model import GuestState, GuestType, Model, utc
from mqtt_bridge.proxmox.permissions import Permissions, anywhere
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.redact import redact_text
from mqtt_bridge.settings import Kind
from proxmox_mcp.tools.base import Call

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

K = TypeVar("K")
T = TypeVar("T")
DEADLINE = 6.0  # seconds for one of several questions: a node that hangs must not hold up the others
NOTES = 5  # errors that are told of one kind of questions
TEXT = 200  # characters of a description or comment
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]+")


class Part(Model):
    """A row of an answer. Its validator is made when it is first used: a cold start is short without it."""

    model_config = ConfigDict(defer_build=True)


@dataclass(frozen=True)
class Place:
    """Where a guest is."""

    site: str
    vmid: int
    type: GuestType
    node: str
    name: str

    @property
    def label(self) -> str:
        """`VM 100 (web01)`."""
        return f"{'VM' if self.type == 'qemu' else 'CT'} {self.vmid} ({self.name})"


@dataclass
class Heard(Generic[K, T]):
    """What came of several questions, in their order."""

    answers: dict[K, T] = field(default_factory=dict)
    errors: dict[K, ProxmoxError] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """A sentence for each that failed, as far as they are worth reading."""
        said = list(dict.fromkeys(f"Not read: {error}" for error in self.errors.values()))
        more = len(said) - NOTES
        return said if more <= 0 else [*said[:NOTES], f"Not read, for like reasons: {more} more."]

    def require(self) -> None:
        """Raises the first error if there is no answer at all."""
        if self.errors and not self.answers:
            raise next(iter(self.errors.values()))


async def together(questions: Mapping[K, Awaitable[T]]) -> Heard[K, T]:
    """All at once; what goes wrong with one is kept beside the answers of the others."""
    heard: Heard[K, T] = Heard()
    found: dict[K, T] = {}

    async def one(key: K, question: Awaitable[T]) -> None:
        try:
            found[key] = await question
        except ProxmoxError as error:
            heard.errors[key] = error

    await asyncio.gather(*(one(key, question) for key, question in questions.items()))
    heard.answers = {key: found[key] for key in questions if key in found}
    return heard


def now(call: Call, *notes: str, complete: bool = True) -> dict[str, Any]:
    """The fields of Answer for what Proxmox has just said."""
    return {
        "as_of": utc(call.services.clock()),
        "age_s": 0.0,
        "complete": complete,
        "source": "api",
        "notes": tuple(dict.fromkeys(notes)),
    }


def clean(text: object, longest: int = TEXT) -> str:
    """One printable line without secrets, cut to its length: names, notes and logs are written by others."""
    line = redact_text(" ".join(_UNPRINTABLE.sub(" ", str(text or "")).split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


# --- whom to ask -----------------------------------------------------------------------------------------------------


def sites(call: Call, kind: Kind, site: str | None = None) -> "dict[str, ProxmoxClient]":
    """The sites of a kind that can be asked, or the one that is wanted; empty if that is of the other kind."""
    clients = call.services.clients
    if not clients:
        call.client(site or "")
    if site is not None and site not in clients:
        raise UnknownTargetError(
            f"There is no site {site!r}.", cure=f"Sites: {', '.join(clients)}.", candidates=tuple(clients)
        )
    return {name: api for name, api in clients.items() if api.site.kind == kind and site in {None, name}}


def hosts(call: Call, site: str | None = None) -> "dict[str, ProxmoxClient]":
    """The Proxmox VE sites; raises UnknownTargetError if there is none."""
    found = sites(call, "pve", site)
    if not found:
        raise UnknownTargetError(
            f"Site {site!r} is a Backup Server." if site else "No Proxmox VE host is configured here.",
            cure="Name a site of Proxmox VE." if site else "PROXMOX_HOST or PVE_NODES names one.",
        )
    return found


async def members(client: "ProxmoxClient") -> dict[str, bool]:
    """The nodes of a site, and whether each is online; every login may read them."""
    rows = await client.get("nodes", deadline=DEADLINE)
    return {str(row["node"]): row.get("status") == "online" for row in rows}


async def guest(call: Call, vmid: int, node: str | None, site: str | None) -> Place:
    """A guest by its VMID alone; raises UnknownTargetError with candidates."""
    try:
        found = (await call.view()).guest(vmid, node=node, site=site).state
    except (UnknownTargetError, UnreachableError):
        if not call.services.clients:
            raise
        return await _fresh_guest(call, vmid, node, site)
    return _placed(found)


async def _fresh_guest(call: Call, vmid: int, node: str | None, site: str | None) -> Place:
    from mqtt_bridge.proxmox.lookup import find_guest  # noqa: PLC0415 - not needed to list tools

    try:
        found = await find_guest(call.services.clients, vmid, site, node)
    except UnknownTargetError as error:
        raise await seen_nothing(call, site, error, ("/vms", "VM.Audit")) from error
    return Place(found.site, found.vmid, found.type, found.node, found.name)


async def seen_nothing(
    call: Call, site: str | None, error: UnknownTargetError, need: tuple[str, str]
) -> UnknownTargetError:
    """The error with the lines that grant what the token lacks, where it sees none of the kind."""
    if error.candidates:
        return error
    why = await unseen_at(list(hosts(call, site).values()), need)
    return UnknownTargetError(error.message, cure=" ".join(why) or error.cure)


def _placed(found: GuestState) -> Place:
    return Place(found.site, found.vmid, found.type, found.node, found.name)


async def of_guest(
    call: Call, place: Place, *tail: str, deadline: float | None = None, **params: Any
) -> tuple[Place, Any]:
    """What a guest's node answers below the guest's path; looks for the guest once more if it has moved."""
    try:
        return place, await _below(call, place, tail, deadline, params)
    except NotFoundError:
        moved = await _fresh_guest(call, place.vmid, None, place.site)
        return moved, await _below(call, moved, tail, deadline, params)


async def _below(
    call: Call, place: Place, tail: tuple[str, ...], deadline: float | None, params: Mapping[str, Any]
) -> Any:
    client = call.client(place.site)
    return await client.get("nodes", place.node, place.type, place.vmid, *tail, deadline=deadline, **params)


async def node(call: Call, name: str, site: str | None) -> str:
    """The Proxmox VE site that has the node; raises UnknownTargetError with candidates."""
    asked = hosts(call, site)
    heard = await together({each: members(client) for each, client in asked.items()})
    heard.require()
    found = [each for each, nodes in heard.answers.items() if name in nodes]
    if len(found) == 1:
        return found[0]
    known = tuple(f"{node} ({each})" for each, nodes in heard.answers.items() for node in nodes)
    if found:
        raise UnknownTargetError(f"Each of the sites {', '.join(found)} has a node {name!r}.", cure="Give `site`.")
    raise UnknownTargetError(f"There is no node {name!r}.", cure=f"Nodes: {', '.join(known)}.", candidates=known)


async def machine(call: Call, name: str, site: str | None) -> tuple[str, str]:
    """The site of a node or Backup Server, and its name in paths."""
    for each, client in sites(call, "pbs", site).items():
        if name in {each, client.site.name}:
            return each, "localhost"
    return await node(call, name, site), name


# --- what is empty because it may not be seen ------------------------------------------------------------------------


async def granted(client: "ProxmoxClient") -> Permissions:
    """What the token may do, by path."""
    answer = await client.get("access", "permissions", deadline=DEADLINE)
    return answer if isinstance(answer, Mapping) else {}


async def unseen(client: "ProxmoxClient", *needs: tuple[str, str]) -> list[str]:
    """Why a list may be empty or short: (path, privilege) that the token lacks, each with the lines that grant it.

    Proxmox filters lists by what the token may see, and answers 200 all the same.
    """
    try:
        held = await granted(client)
    except ProxmoxError as error:
        return [f"Whether the token may see all of it is not known: {error}"]
    at = client.site.endpoints[0]
    return [
        f"The token lacks {privilege} on {path} of site {client.site.slug}, so things are missing here. Run as root on "
        f"the Proxmox host: {grant_lines(at.kind, path, privilege, at.user, at.token_name)}"
        for path, privilege in needs
        if not anywhere(held, path, privilege)
    ]


async def unseen_at(clients: "Sequence[ProxmoxClient]", *needs: tuple[str, str]) -> list[str]:
    """The same of several sites."""
    each = await asyncio.gather(*(unseen(client, *needs) for client in clients))
    return [note for notes in each for note in notes]


class AskedWrongError(BridgeError):
    """Arguments that do not fit each other."""
