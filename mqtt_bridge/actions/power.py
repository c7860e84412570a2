"""Power of guests and nodes: from the rows to plans, and what is seen afterwards."""

import asyncio
import functools
import time
from typing import Any, Final

from mqtt_bridge.actions.locks import lock_hint, locked
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.power_rows import NAMES, PowerRow, row_for, rows_of
from mqtt_bridge.actions.reading import Reading, among
from mqtt_bridge.actions.row import Action, ActionError, Args
from mqtt_bridge.errors import NotFoundError
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.proxmox.lookup import find_guest, guests_on, reread
from mqtt_bridge.targets import GuestRef, GuestTarget, NodeRef, NodeTarget, Touched

PACE: Final = 0.5  # seconds between two looks at the state
SETTLE = 5.0  # seconds that a state may lag behind its task
RESTART_SETTLE = 60.0  # a reboot's task ends when the guest is down: the start comes after it
UPTIME_SLACK = 3  # seconds
CURES = {
    "stopped": "Start it instead.",
    "suspended": "Start or resume it first: it is suspended to disk.",
    "paused": "Resume it first, or stop it.",
}


async def _plan_guest(name: str, reading: Reading, ref: GuestRef, args: Args) -> Plan:
    guest = await reading.guest(ref)
    row = row_for(name, guest.type)
    problem, nothing = _guest_check(row, guest)
    segments = row.segments(node=guest.node, type=guest.type, vmid=guest.vmid)
    return Plan(
        ACTIONS[name],
        reading.api(guest.site),
        guest,
        (Step("POST", segments, {**args.params(), **row.fixed}, task=row.task),),
        (Touched(guest),),
        functools.partial(_see_guest, row, time.monotonic()),
        args,
        title=row.title,
        problem=problem,
        nothing=nothing,
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


def _guest_check(row: PowerRow, guest: GuestTarget) -> tuple[ActionError | None, str | None]:
    """Why it makes no sense, or why nothing needs to be sent. Proxmox has the last word."""
    if guest.template:
        cure = "Clone it and use the clone."
        return ActionError(f"{guest.label} is a template, which never runs.", cure=cure), None
    if guest.state in row.done_in:
        return None, f"{guest.label} is already {guest.state}; nothing was sent."
    if problem := locked(guest, *row.locks):
        return problem, None
    if row.only_in and guest.state not in (*row.only_in, "unknown"):
        needed = " or ".join(sorted(row.only_in))
        text = f"{guest.label} is {guest.state}; {row.title.lower()} needs it {needed}."
        return ActionError(text, cure=CURES.get(guest.state, "")), None
    return None, None


async def _plan_node(row: PowerRow, reading: Reading, ref: NodeRef, args: Any) -> Plan:
    node = await reading.node(ref)
    api = reading.api(node.site)
    wanted = getattr(args, "vmids", None)
    guests = await _guests(row, reading, node, wanted) if row.touches and node.online else ()
    params = {**args.params("vmids"), **row.fixed}
    if row.named:  # always, so that none is reached that was not judged
        params["vms"] = ",".join(str(guest.vmid) for guest in guests)
    problem, nothing = _node_check(row, node, guests)
    return Plan(
        ACTIONS[row.name],
        api,
        node,
        (Step("POST", row.segments(node=node.node), params, task=row.task),),
        (Touched(node), *(Touched(guest) for guest in guests)),
        functools.partial(_see_node, row, guests),
        args,
        problem=problem,
        nothing=nothing,
        state="online" if node.online else "offline",
        notes=_taken_down(row, guests),
        narrow="Or name the guests that it shall concern (vmids)." if row.named and wanted is None else "",
    )


async def _guests(
    row: PowerRow, reading: Reading, node: NodeTarget, wanted: tuple[int, ...] | None
) -> tuple[GuestTarget, ...]:
    if not row.named:
        await reading.sees_all(row.title, node)
    present = await reading.guests_on(node, going_down=row.takes_down)
    if wanted is not None:
        return among(present, wanted, node)
    return tuple(g for g in present if g.state in row.touches or g.state == "unknown")


def _node_check(
    row: PowerRow, node: NodeTarget, guests: tuple[GuestTarget, ...]
) -> tuple[ActionError | None, str | None]:
    if row.node_online and not node.online:
        cure = "Wake it (wakeonlan) or look at the machine itself."
        return ActionError(f"The {node.label} is offline.", cure=cure), None
    if not row.node_online and node.online:
        return None, f"The {node.label} is already online; nothing was sent."
    if row.named and not guests:
        return None, f"There is no guest on {node.label} that this concerns; nothing was sent."
    return None, None


def _taken_down(row: PowerRow, guests: tuple[GuestTarget, ...]) -> tuple[str, ...]:
    if not row.takes_down or not guests:
        return ()
    named = ", ".join(guest.label for guest in guests[:20])
    more = f" and {len(guests) - 20} more" if len(guests) > 20 else ""  # noqa: PLR2004 -- as many as are read
    return (f"It takes down {named}{more}.",)


# --- what is seen ----------------------------------------------------------------------------------------------------


async def _see_guest(row: PowerRow, began: float, plan: Plan, outcome: Outcome) -> Seen:
    before = plan.target
    if not isinstance(before, GuestTarget):
        raise TypeError(plan.target)
    look = _Look(row, plan.api, before, began)
    if not outcome.ok:
        seen = await look.once()
        return Seen(ok=False, message=f"it is {seen.state}.", state=seen.state, changed=look.changed(seen))
    seen = await look.settled(outcome)
    if look.as_expected(seen):
        return Seen(ok=True, message=f"it is {seen.state} now.", state=seen.state, changed=look.changed(seen))
    wanted = " or ".join(sorted(row.expect))
    again = " and has not started anew" if seen.state in row.expect else f" and not {wanted}"
    text = f"the task ended well, but it is {seen.state}{again}."
    return Seen(ok=False, message=text, state=seen.state, changed=look.changed(seen))


class _Look:
    """At one guest, again and again, until it is what it should be."""

    def __init__(self, row: PowerRow, api: Api, before: GuestTarget, began: float) -> None:
        self._row = row
        self._api = api
        self._before = before
        self._began = began

    async def once(self) -> GuestTarget:
        try:
            return await reread(self._api, self._before)
        except NotFoundError:  # HA may have started it on another node
            before = self._before
            return await find_guest({before.site: self._api}, before.vmid, before.site)

    async def settled(self, outcome: Outcome) -> GuestTarget:
        """Looks until the state is the expected one. What HA manages is only asked for by its task: CRM acts later."""
        patience = RESTART_SETTLE if self._row.restarts else SETTLE
        until = time.monotonic() + (outcome.left if self._before.ha else min(patience, outcome.left))
        while True:
            seen = await self.once()
            if self.as_expected(seen) or time.monotonic() >= until:
                return seen
            await asyncio.sleep(PACE)

    def as_expected(self, seen: GuestTarget) -> bool:
        row = self._row
        return not row.expect or (seen.state in row.expect and (not row.restarts or self._restarted(seen)))

    def changed(self, seen: GuestTarget) -> bool:
        return seen.state != self._before.state or self._restarted(seen)

    def _restarted(self, seen: GuestTarget) -> bool:
        """Whether it was started anew, told by its uptime; where there is none, the task is believed."""
        if not self._row.restarts:
            return False
        if seen.uptime is None or self._before.uptime is None:
            return True
        return seen.uptime < self._before.uptime or seen.uptime <= time.monotonic() - self._began + UPTIME_SLACK


async def _see_node(row: PowerRow, guests: tuple[GuestTarget, ...], plan: Plan, outcome: Outcome) -> Seen:
    """A bulk action: the states of the guests that it named. A node's own power: only that it was accepted."""
    if not row.task:
        answer = outcome.answers[0] if outcome.answers else None
        said = f" and answered {str(answer)[:100]}" if answer else ""
        text = f"Proxmox accepted it{said}. There is no task to wait for: only the node's state will show the rest."
        return Seen(ok=True, message=text, changed=None, started=True)
    now = {g.vmid: g for g in await guests_on(plan.api, plan.target.node)}
    seen = [now.get(g.vmid, g) for g in guests]
    changed = any(a.state != b.state for a, b in zip(guests, seen, strict=True))
    other = [g for g in seen if row.expect and g.state not in row.expect]
    running = sum(g.state == "running" for g in seen)
    message = f"{running} of its {len(seen)} guests are running now."
    if other:
        message += f" Not {' or '.join(sorted(row.expect))}: {', '.join(g.label for g in other)}."
    return Seen(ok=not other, message=message, changed=changed)


def _action(name: str) -> Action:
    row = rows_of(name)[0]
    plan = functools.partial(_plan_guest, name) if row.target == "guest" else functools.partial(_plan_node, row)
    return Action(name, row.title, row.risk, row.target, row.privileges, row.args, plan, takes_down=row.takes_down)


ROWS: tuple[Action, ...] = tuple(_action(name) for name in NAMES)
ACTIONS = {row.name: row for row in ROWS}
