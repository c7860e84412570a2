"""Control in this process: the performer of actions and the store of approvals, loaded when they are first needed.

`stdio` starts for every chat and mostly reads: what only changes things costs its start nothing.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mqtt_bridge.settings import Settings

if TYPE_CHECKING:
    from mqtt_bridge.actions import ActionResult, Actions, After, Expecting
    from mqtt_bridge.approvals import Approvals
    from mqtt_bridge.mqtt.broker import BrokerOptions
    from mqtt_bridge.policy import Principal
    from mqtt_bridge.proxmox.client import ProxmoxClient
    from mqtt_bridge.targets import Ref
    from mqtt_bridge.topics import Topics


log = logging.getLogger(__name__)


class Control:
    """`Actions` of this process, made at the first order."""

    def __init__(
        self,
        settings: Settings,
        clients: "Mapping[str, ProxmoxClient]",
        approvals: "Approvals | None",
        *,
        after: "After | None" = None,
        expecting: "Expecting | None" = None,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._more: dict[str, Any] = {"approvals": approvals, "after": after, "expecting": expecting}

    async def perform(self, principal: "Principal", action: str, target: "Ref", **how: Any) -> "ActionResult":
        """See `Actions.perform`."""
        return await self._actions.perform(principal, action, target, **how)

    @cached_property
    def _actions(self) -> "Actions":
        from mqtt_bridge.actions import Actions  # noqa: PLC0415 -- what only reads starts without it
        from mqtt_bridge.audit.trail import Audit  # noqa: PLC0415

        settings = self._settings
        return Actions(self._clients, settings.permission, Audit(settings.general.state_dir), **self._more)


if TYPE_CHECKING:
    Orders = Actions | Control


@asynccontextmanager
async def deciding(
    settings: Settings, broker: "BrokerOptions | None", names: "Topics"
) -> "AsyncIterator[Approvals | None]":
    """The approvals of a process that starts no bridge, None where nothing can be ordered.

    With a configured broker they are published there too, unless the bridge of this STATE_DIR does that already.
    """
    if settings.permission.mcp_allow == "read" and not settings.mcp.tokens:
        yield None
        return
    from mqtt_bridge.approvals import Approvals  # noqa: PLC0415
    from mqtt_bridge.approvals.database import ApprovalStoreError  # noqa: PLC0415
    from mqtt_bridge.approvals.desk import Desk  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        try:
            approvals = await stack.enter_async_context(Approvals(settings.general.state_dir, settings.approval))
        except ApprovalStoreError as error:  # reading goes on; what needs an approval is refused
            log.warning("Nothing can be approved here: %s", error)
            yield None
            return
        if broker is not None and settings.mqtt.host:
            sites = [site.slug for site in settings.sites]
            await stack.enter_async_context(Desk(approvals, broker, names, sites))
        yield approvals
