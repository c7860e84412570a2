"""A site's API for what cannot wait for PROXMOX_RATE_LIMIT: a site that goes down on a battery."""

from typing import Any

from mqtt_bridge.proxmox.calls import Purpose
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.tasks import OnProgress, TaskOutcome
from mqtt_bridge.settings import SiteSettings


class UrgentApi:
    """An `Api` over a client that is opened and closed elsewhere."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    @property
    def site(self) -> SiteSettings:
        return self._client.site

    async def get(
        self, *segments: str | int, purpose: Purpose = "urgent", deadline: float | None = None, **params: Any
    ) -> Any:
        """As the client's."""
        return await self._client.get(*segments, purpose=purpose, deadline=deadline, **params)

    async def post(self, *segments: str | int, deadline: float | None = None, **params: Any) -> Any:
        """Sent at most once."""
        return await self._client.request("POST", *segments, purpose="urgent", deadline=deadline, params=params)

    async def put(self, *segments: str | int, deadline: float | None = None, **params: Any) -> Any:
        """Sent at most once."""
        return await self._client.request("PUT", *segments, purpose="urgent", deadline=deadline, params=params)

    async def delete(self, *segments: str | int, deadline: float | None = None, **params: Any) -> Any:
        """Sent at most once."""
        return await self._client.request("DELETE", *segments, purpose="urgent", deadline=deadline, params=params)

    async def wait_task(
        self,
        upid: str,
        *,
        timeout: float,  # noqa: ASYNC109 -- what happens at its end is an answer, not an exception
        on_progress: OnProgress | None = None,
    ) -> TaskOutcome:
        """As the client's."""
        return await self._client.wait_task(upid, timeout=timeout, on_progress=on_progress)
