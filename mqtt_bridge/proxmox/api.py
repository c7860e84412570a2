"""What actions and look-ups need of a ProxmoxClient, as a Protocol: tests hand in recorders."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import TaskOutcome, TaskProgress
    from mqtt_bridge.settings import SiteSettings

    OnProgress = Callable[[TaskProgress], Awaitable[None] | None]


class Api(Protocol):
    """One site's API."""

    @property
    def site(self) -> "SiteSettings": ...

    async def get(
        self,
        *segments: str | int,
        purpose: Literal["poll", "tool"] = "tool",
        deadline: float | None = None,
        **params: Any,
    ) -> Any: ...

    async def post(self, *segments: str | int, deadline: float | None = None, **params: Any) -> Any: ...

    async def wait_task(
        self,
        upid: str,
        *,
        timeout: float,  # noqa: ASYNC109 -- what happens at its end is an answer, not an exception
        on_progress: "OnProgress | None" = None,
    ) -> "TaskOutcome": ...
