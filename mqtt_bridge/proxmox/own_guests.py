"""Which of a node's guests is the one that we run on: told by their configurations, each read once."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.targets import GuestTarget
from mqtt_bridge.whoami import Identity

AT_ONCE = 8


class OwnGuests:
    """Remembers who is not us: while this process runs, no other guest can become the one that it runs on."""

    def __init__(self, me: Identity) -> None:
        self.me = me
        self._others: set[tuple[str, int]] = set()

    async def mark(self, api: Api, guests: Iterable[GuestTarget]) -> tuple[GuestTarget, ...]:
        """The same guests, ours marked. A configuration that cannot be read is an error: it might be ours."""
        if not self.me:
            return tuple(guests)
        gate = asyncio.Semaphore(AT_ONCE)
        return tuple(await asyncio.gather(*(self._mark(api, guest, gate) for guest in guests)))

    async def _mark(self, api: Api, guest: GuestTarget, gate: asyncio.Semaphore) -> GuestTarget:
        key = (guest.site, guest.vmid)
        if key in self._others:
            return guest
        async with gate:  # as a poll, so that a node with more guests than PROXMOX_RATE_LIMIT can be judged at all
            config = await api.get("nodes", guest.node, guest.type, guest.vmid, "config", purpose="poll")
        if self.me.matches(config):
            return replace(guest, is_self=True)
        self._others.add(key)
        return guest
