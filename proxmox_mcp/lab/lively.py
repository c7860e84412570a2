"""A little life without anybody's doing, so that a live view shows something."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from . import power
from .build import ROOT_SELF
from .handlers import backup

if TYPE_CHECKING:
    from .state import Guest
    from .world import World

PAUSE = (8.0, 25.0)


async def live(world: World) -> None:
    """Every now and then back a guest up, reboot one, or start one that is off; ends with the lab."""
    while True:
        await asyncio.sleep(world.rng.uniform(*PAUSE) / world.options.speed)
        guests = [guest for guest in world.sorted_guests() if _idle(world, guest)]
        if guests and world.quorate:
            world.rng.choices((_back_up, _reboot), (3, 1))[0](world, world.rng.choice(guests))


def _idle(world: World, guest: Guest) -> bool:
    node = world.nodes[guest.node]
    return (
        guest.running
        and not guest.lock
        and not guest.paused
        and node.online
        and not power.ha_managed(world, guest.vmid)
    )


def _back_up(world: World, guest: Guest) -> None:
    name = next((one for one in (*world.pbs, "nas") if one in world.storages), "local")
    work = backup.work(world, [guest], world.storages[name], {})
    world.tasks.start(guest.node, "vzdump", str(guest.vmid), ROOT_SELF, work)


def _reboot(world: World, guest: Guest) -> None:
    kind = "qmreboot" if guest.kind == "qemu" else "vzreboot"
    step = power.work(world, guest.vmid, guest.node, guest.kind, power.reboot)
    world.tasks.start(guest.node, kind, str(guest.vmid), ROOT_SELF, step)
