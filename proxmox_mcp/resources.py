"""Resources: the same states under URIs, and notices when one changes, for clients of both protocol eras."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.subscriptions import SubscriptionBus
from mcp.shared.subscriptions import ResourceUpdated

from mqtt_bridge.errors import UnknownTargetError
from proxmox_mcp import outside
from proxmox_mcp.store import Key
from proxmox_mcp.tools import cluster, events, guests, storage, tasks
from proxmox_mcp.tools.base import Arguments, Call
from proxmox_mcp.view import UNASSIGNED, Answer, View

if TYPE_CHECKING:
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext

MIME = "application/json"
MOST_GUESTS = 200  # that a site lists one by one; the others are found by the template


@dataclass(frozen=True)
class Template:
    """One kind of resource: where it is, and which tool's answer it is."""

    name: str
    title: str
    uri: str
    read: Callable[[Call, Any], Awaitable[Answer]]
    arguments: type[Arguments]

    def match(self, uri: str) -> dict[str, str] | None:
        """The parts of a URI of this kind."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.uri))
        found = re.fullmatch(pattern, uri)
        return found.groupdict() if found else None

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of those parts."""
        return tuple(re.findall(r"{(\w+)}", self.uri))


class OneStorage(Arguments):
    """Which storage."""

    site: str
    storage: str


async def _one_storage(call: Call, args: OneStorage) -> Answer:
    known = [s for s in (await call.view()).storages(args.site) if s.storage == args.storage]
    if not known:
        raise UnknownTargetError(f"There is no storage {args.storage!r} in site {args.site!r}.")
    return await storage.get_storage(call, storage.StorageFilter(site=args.site, name=args.storage))


TEMPLATES = (
    Template("site", "A site as a whole", "proxmox://{site}", cluster.get_cluster_status, cluster.OneSite),
    Template("node", "A node", "proxmox://{site}/node/{node}", cluster.get_node_status, cluster.OneNode),
    Template("guest", "A guest", "proxmox://{site}/guest/{vmid}", guests.get_guest, guests.OneGuest),
    Template("storage", "Storages of a site", "proxmox://{site}/storage", storage.get_storage, storage.StorageFilter),
    Template("one storage", "A storage", "proxmox://{site}/storage/{storage}", _one_storage, OneStorage),
    Template("tasks", "Latest tasks of a site", "proxmox://{site}/tasks", tasks.get_recent_tasks, tasks.TaskFilter),
    Template("events", "Latest events of a site", "proxmox://{site}/events", events.get_events, events.EventFilter),
)


async def read(call: Call, uri: str) -> str | None:
    """The JSON at a URI; None where there can be none. Raises BridgeError where there is none now."""
    for template in TEMPLATES:
        if (parts := template.match(uri)) is not None:
            answer = await template.read(call, template.arguments.model_validate(parts))
            return json.dumps(
                outside.scrubbed(answer.model_dump(mode="json")), ensure_ascii=False, separators=(",", ":")
            )
    return None


def listed(view: View | None) -> list[types.Resource]:
    """What is there now. Guests of a large site are left to the template."""
    return [_resource(uri, name, title) for uri, name, title in _known(view)] if view else []


def _known(view: View) -> Iterator[tuple[str, str, str]]:
    for site in view.sites():
        yield f"proxmox://{site}", site, f"Site {site}"
        for part in ("storage", "tasks", "events"):
            yield f"proxmox://{site}/{part}", f"{site} {part}", f"{part.capitalize()} of site {site}"
        for node in view.nodes(site):
            yield f"proxmox://{site}/node/{node.state.node}", node.state.node, f"Node {node.state.node}"
        for guest in list(view.guests(site))[:MOST_GUESTS]:
            state = guest.state
            yield f"proxmox://{site}/guest/{state.vmid}", f"{state.vmid} {state.name}", f"{state.name} ({state.vmid})"
    if view.store.get(UNASSIGNED, "events") is not None:
        yield f"proxmox://{UNASSIGNED}/events", f"{UNASSIGNED} events", "Events of which no site can be told"


def _resource(uri: str, name: str, title: str) -> types.Resource:
    return types.Resource(uri=uri, name=outside.label(name), title=outside.label(title), mime_type=MIME)


def templates() -> list[types.ResourceTemplate]:
    """The kinds of resources."""
    return [types.ResourceTemplate(uri_template=t.uri, name=t.name, title=t.title, mime_type=MIME) for t in TEMPLATES]


def uris_of(keys: Iterable[Key]) -> set[str]:
    """The resources that a change of these topics changes. A heartbeat changes none: it comes with every poll."""
    return {uri for key in keys for uri in _uris(*key)}


def _uris(site: str, kind: str, name: str) -> Iterator[str]:
    base = f"proxmox://{site}"
    if kind in {"site_state", "cluster", "manifest"}:
        yield base
    elif kind in {"node", "node_metrics"}:
        yield f"{base}/node/{name}"
    elif kind in {"disk", "zpool"}:
        yield f"{base}/node/{name.partition('/')[0]}"
    elif kind in {"guest", "guest_metrics"}:
        yield f"{base}/guest/{name}"
    elif kind in {"storage", "shared_storage", "datastore"}:
        yield f"{base}/storage"
        if kind != "datastore":
            yield f"{base}/storage/{name.rpartition('/')[2]}"
    elif kind in {"tasks", "events"}:
        yield f"{base}/{kind}"


class Notices:
    """Tells subscribers of changed resources: 2026 clients through the SDK's bus, older ones through their sessions."""

    def __init__(self, bus: SubscriptionBus) -> None:
        self._bus = bus
        self._sessions: dict[str, dict[Connection, Any]] = {}
        self._pending: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def changed(self, keys: Sequence[Key]) -> None:
        """Topics changed; the notices go out in the loop's next turns, one per resource."""
        self._pending |= uris_of(keys)
        if self._pending and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._tell(), name="mcp notices")

    async def _tell(self) -> None:
        while self._pending:
            uris, self._pending = self._pending, set()
            for uri in uris:
                await self._bus.publish(ResourceUpdated(uri=uri))
                for connection, session in list(self._sessions.get(uri, {}).items()):
                    await self._one(uri, connection, session)

    async def _one(self, uri: str, connection: "Connection", session: Any) -> None:
        try:
            await session.send_resource_updated(uri)
        except Exception:  # noqa: BLE001 - whatever its transport raises, this session is gone and others are not
            self._drop(uri, connection)

    def _drop(self, uri: str, connection: "Connection") -> None:
        listeners = self._sessions.get(uri, {})
        listeners.pop(connection, None)
        if not listeners:
            self._sessions.pop(uri, None)

    async def subscribe(
        self, ctx: "ServerRequestContext[Any, Any]", params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """`resources/subscribe` of clients before 2026."""
        uri, connection = str(params.uri), ctx.session._connection  # noqa: SLF001 - the session itself is per request
        listeners = self._sessions.setdefault(uri, {})
        if connection not in listeners:
            connection.exit_stack.callback(self._drop, uri, connection)
        listeners[connection] = ctx.session
        return types.EmptyResult()

    async def unsubscribe(
        self, ctx: "ServerRequestContext[Any, Any]", params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """Its opposite."""
        self._drop(str(params.uri), ctx.session._connection)  # noqa: SLF001
        return types.EmptyResult()
