"""The shutdowns of all sites of a bridge: begun, aborted, and gone on with after a restart of ours."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mqtt_bridge.actions import Actions, Standing
from mqtt_bridge.approvals.types import Grant
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.errors import PolicyError, ProxmoxError
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.settings import PermissionSettings, allows
from mqtt_bridge.site_shutdown.around import Around
from mqtt_bridge.site_shutdown.book import Book
from mqtt_bridge.site_shutdown.course import Course, after
from mqtt_bridge.site_shutdown.plan import ACT, SitePlan, make
from mqtt_bridge.site_shutdown.progress import Order, Progress, begin, boot_id
from mqtt_bridge.site_shutdown.wanted import ShutdownError, Wanted

log = logging.getLogger(__name__)

SETTING = "SITE_SHUTDOWN"
OLD = 30 * 60.0  # seconds after which a shutdown that was interrupted is not gone on with
SLACK = 30.0  # seconds between two hosts' clocks
ANSWER = 8.0  # seconds that an abort waits for the calls that are under way
LOOK = 5.0  # seconds between two looks at what became of it, after a restart
PATIENT = 600.0  # seconds in which Proxmox may come back after its own restart
STANDING = Standing(
    frozenset({"guest.shutdown", "guest.stop", "node.shutdown"}), Grant("site.shutdown", SETTING, "setting")
)


def may(permission: PermissionSettings) -> bool:
    """Whether the settings let a whole site be shut down over MQTT."""
    return permission.site_shutdown and allows(permission.mqtt_allow, ACT.risk)


def _lacking(permission: PermissionSettings) -> str:
    enough = allows(permission.mqtt_allow, ACT.risk)
    return f"{SETTING}=true" if enough else f"{SETTING}=true and MQTT_ALLOW={ACT.risk}"


class SiteShutdowns:
    """`run` it supervised. `actions` are those that have STANDING.

    `begins` is told the site of each that begins, or was interrupted, before its first call.
    """

    def __init__(
        self,
        actions: Actions,
        permission: PermissionSettings,
        *,
        clients: Mapping[str, Api],
        book: Book,
        audit: Audit,
        sites: Collection[str],
        begins: Callable[[str], None] = lambda _site: None,
    ) -> None:
        self._actions = actions
        self._permission = permission
        self._clients = clients
        self._book = book
        self._audit = audit
        self._sites = tuple(sites)
        self._begins = begins
        self._start: Callable[[Around], None] | None = None
        self._under_way: dict[str, tuple[Around, asyncio.Task[None]]] = {}
        self._beginning: set[str] = set()

    async def run(self) -> None:
        """Until cancelled; what was interrupted is gone on with, or given up where it is not allowed any more."""
        if not may(self._permission):
            await self._give_up()
            await asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            for site in self._sites:
                found = await self._book.load(site)
                if found and found.phase == "running":
                    self._begins(site)
                    around = Around(self._actions, self._clients[site], self._book, found)
                    self._under_way[site] = around, group.create_task(self._resume(around))
            self._start = lambda around: self._begun(around, group)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._start = None

    async def _give_up(self) -> None:
        for site in self._sites:
            found = await self._book.last(site)
            if found and found.phase == "running":
                text = f"It is not gone on with: {SETTING} or MQTT_ALLOW does not allow it any more."
                await self._book.keep(found.step(phase="aborted", ended=time.time(), message=text))

    def _begun(self, around: Around, group: asyncio.TaskGroup) -> None:
        course = Course(around, self._permission)
        self._under_way[around.progress.site] = around, group.create_task(course.run())

    # --- what can be asked for ---------------------------------------------------------------------------------------

    async def plan(self, site: str, order: Order, wanted: Wanted) -> SitePlan:
        """What it would do. Raises PolicyError, ShutdownError, ProxmoxError; a refusal is in the audit file."""
        try:
            self._admit(site)
            return await make(self._actions.reading(), self._permission, _principal(order), site, wanted)
        except PolicyError as error:
            await self._write("refused", site, order, reason=error.message, setting=error.setting)
            raise

    def _admit(self, site: str) -> None:
        if not self._permission.site_shutdown:
            raise PolicyError(
                "This bridge may not shut a whole site down.",
                cure=f"Set {_lacking(self._permission)} where it is configured, and restart it (docs/shutdown.md).",
                setting=SETTING,
            )
        if site not in self._sites:
            raise ShutdownError(f"Site {site} is a Backup Server, which this does not shut down.", cure="Do it there.")

    async def begin(self, site: str, order: Order, wanted: Wanted) -> tuple[SitePlan, Progress]:
        """It is judged, noted and begun. Raises as `plan`, and AuditError."""
        if self._start is None and may(self._permission):
            raise ShutdownError("The bridge is only starting.", cure="Send it again in a moment.")
        if site in self._beginning or self.running(site):
            raise ShutdownError(f"Site {site} is being shut down already.", cure="shutdown_abort ends that.")
        self._beginning.add(site)
        try:
            plan = await self.plan(site, order, wanted)
            guests = [guest.vmid for guest in plan.guests][:200]
            await self._write("begun", site, order, guests=guests, nodes=[step.node for step in plan.nodes])
            progress = begin(plan, order, wanted)
            self._begins(site)
            await self._book.keep(progress)
            if self._start is None:
                raise ShutdownError("The bridge is ending.", cure="It goes on with it when it is back.")
            self._start(Around(self._actions, self._clients[site], self._book, progress))
        finally:
            self._beginning.discard(site)
        return plan, progress

    async def abort(self, site: str, order: Order) -> Progress:
        """Nothing more is begun; what was asked before goes on. Raises ShutdownError where nothing is under way."""
        self._admit(site)
        if not self.running(site):
            raise ShutdownError(f"Site {site} is not being shut down.", cure=f"`…/{site}/shutdown` says how it is.")
        await self._write("aborted", site, order)
        around, task = self._under_way[site]
        around.stop.set()
        await asyncio.wait([task], timeout=ANSWER)
        return around.progress

    def running(self, site: str) -> bool:
        """Whether one is under way there."""
        return site in self._under_way and not self._under_way[site][1].done()

    async def _write(self, what: str, site: str, order: Order, **more: Any) -> None:
        await self._audit.write(
            f"action.{what}",
            id=order.id,
            principal=order.principal,
            channel="mqtt",
            level=order.level,
            action=ACT.name,
            risk=ACT.risk,
            site=site,
            target=f"site {site}",
            reason_given=": ".join(part for part in (order.who, order.reason) if part),
            **more,
        )

    # --- after a restart of ours -------------------------------------------------------------------------------------

    async def _resume(self, around: Around) -> None:
        order = around.progress.order.model_copy(update={"level": self._permission.mqtt_allow})
        progress = around.progress = around.progress.model_copy(update={"order": order})
        booted = progress.boot != boot_id()
        back = await self._back(around, wait=booted)
        age = time.time() - progress.changed
        if not back and not booted and age <= OLD:
            log.warning("The shutdown of site %s is gone on with", progress.site)
            await around.keep(since=time.time())  # our absence is not counted
            await Course(around, self._permission).run()
            return
        why = f"the bridge was away for {age / 60:.0f} minutes" if not (back or booted) else "it was started again"
        gone = tuple(n.name for n in progress.nodes if n.name in back or n.name in progress.nodes_down)
        around.progress = progress.step(nodes_down=gone)
        remaining = around.progress.remaining
        if not remaining:
            text = (
                f"All was down, the bridge with it; now {', '.join(back) or 'it'} is up again.{after(around.progress)}"
            )
            await around.keep(phase="done", ended=time.time(), back=True, message=text)
            return
        named = ", ".join(around.progress.label(one) for one in remaining[:20])
        text = f"It is not gone on with, since {why} in the middle of it. Not seen to go down: {named}."
        await around.keep(phase="failed", ended=time.time(), back=bool(back), message=text + after(around.progress))

    async def _back(self, around: Around, *, wait: bool) -> tuple[str, ...]:
        """Nodes that were started since it began. `wait`: this machine was, so Proxmox may need its time too."""
        until = time.monotonic() + (PATIENT if wait else 0)
        while True:
            try:
                booted = await around.nodes()
            except ProxmoxError as error:
                if time.monotonic() >= until:
                    log.info("Whether nodes were started again is not known: %s", error)
                    return ()
                await asyncio.sleep(LOOK)
            else:
                mine = {node.name for node in around.progress.nodes}
                began = around.progress.started + SLACK
                return tuple(name for name, at in booted.items() if name in mine and at is not None and at > began)


def _principal(order: Order) -> Principal:
    return Principal(order.principal, "mqtt", order.level)
