"""One API request on its way to a handler, and what a handler may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .permissions import need

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .access import Identity
    from .push.notifier import Notifier
    from .state import Guest, GuestKind, Node
    from .tasks import Task
    from .world import World


@dataclass(slots=True)
class Call:
    """Parameters are checked and typed already, path values among them."""

    world: World
    entry: str
    """The node whose API server was asked."""
    template: str
    params: dict[str, Any]
    who: Identity

    @property
    def user(self) -> str:
        return self.who.user

    @property
    def token(self) -> str:
        return self.who.token

    def has(self, path: str) -> frozenset[str]:
        return self.world.access.privileges(self.who, path)

    def may(self, path: str, privilege: str) -> bool:
        return privilege in self.has(path)

    def need(self, path: str, *privileges: str, anyone: bool = False) -> None:
        need(self, path, list(privileges), anyone=anyone)

    @property
    def node(self) -> Node:
        return self.world.node(self.params["node"])

    @property
    def kind(self) -> GuestKind:
        return "lxc" if self.template.startswith("/nodes/{node}/lxc") else "qemu"

    @property
    def vmid(self) -> int:
        return int(self.params["vmid"])

    @property
    def guest(self) -> Guest:
        return self.world.guest(self.vmid, self.node.name, self.kind)

    @property
    def notifier(self) -> Notifier:
        return self.world.notifier

    @property
    def sender(self) -> str:
        return self.entry

    @property
    def now(self) -> int:
        return int(self.world.now())

    def start(self, kind: str, ident: object, work: Callable[[Task], Awaitable[None]]) -> str:
        """Fork a worker on the node of the path; returns its UPID."""
        return self.world.tasks.start(self.node.name, kind, str(ident), self.who, work)


@dataclass(frozen=True, slots=True)
class Page:
    """A list with the number of all its rows."""

    data: list[Any]
    total: int


@dataclass(frozen=True, slots=True)
class Raw:
    """JSON text that is ready."""

    text: str


@dataclass(frozen=True, slots=True)
class Empty:
    """An answer without any body: what the journal gives to the recorded cluster."""


Handler = Callable[[Call], Any]
Route = tuple[str, str, Handler]
