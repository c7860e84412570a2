"""What actions and look-ups need of a ProxmoxClient, as a Protocol: tests hand in recorders."""

from typing import Any, Protocol

from mqtt_bridge.proxmox.calls import Purpose
from mqtt_bridge.proxmox.tasks import OnProgress, TaskOutcome
from mqtt_bridge.settings import SiteSettings

__all__ = ["Api", "OnProgress", "TaskOutcome"]


class Api(Protocol):
    """One site's API."""

    @property
    def site(self) -> SiteSettings: ...

    async def get(
        self, *segments: str | int, purpose: Purpose = "tool", deadline: float | None = None, **params: Any
    ) -> Any: ...

    async def post(self, *segments: str | int, deadline: float | None = None, **params: Any) -> Any: ...

    async def put(self, *segments: str | int, deadline: float | None = None, **params: Any) -> Any: ...

    async def delete(self, *segments: str | int, deadline: float | None = None, **params: Any) -> Any: ...

    async def wait_task(
        self,
        upid: str,
        *,
        timeout: float,  # noqa: ASYNC109 -- what happens at its end is an answer, not an exception
        on_progress: OnProgress | None = None,
    ) -> TaskOutcome: ...
