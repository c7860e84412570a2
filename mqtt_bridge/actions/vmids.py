"""Free VMIDs: Proxmox's `nextid` tells two callers the same one, so what we gave out is held for a while."""

import time

from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.errors import RejectedError
from mqtt_bridge.proxmox.api import Api

HOLD = 120.0  # seconds for which an id that was given out is not given out again
FIRST, LAST = 100, 999_999_999
TRIES = 200


class Vmids:
    """Gives out ids. A race with somebody else is decided by Proxmox, which refuses the second (`taken`)."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], float] = {}

    async def next(self, api: Api) -> int:
        """The lowest free id that no plan of ours holds; it is held from now on."""
        now = time.monotonic()
        self._held = {key: until for key, until in self._held.items() if until > now}
        vmid = int(await api.get("cluster", "nextid"))
        for candidate in range(vmid, min(vmid + TRIES, LAST + 1)):
            if (api.site.slug, candidate) in self._held:
                continue
            if candidate == vmid or await _free(api, candidate):
                self._held[api.site.slug, candidate] = now + HOLD
                return candidate
        raise ActionError("No free VMID was found.", cure="Give one as vmid.")

    async def check(self, api: Api, vmid: int) -> None:
        """Raises ActionError if it is taken."""
        if not FIRST <= vmid <= LAST:
            raise ActionError(f"A VMID is a number from {FIRST} to {LAST}.", cure="Leave it out for the next free one.")
        if not await _free(api, vmid):
            raise ActionError(f"There is a guest {vmid} already.", cure="Leave vmid out for the next free one.")


async def _free(api: Api, vmid: int) -> bool:
    try:
        await api.get("cluster", "nextid", vmid=vmid)
    except RejectedError as error:
        if error.status == 400 and "vmid" in str(error):  # noqa: PLR2004 -- a parameter that is refused
            return False
        raise
    return True


def taken(error: RejectedError) -> bool:
    """Whether Proxmox refused because the id has been given to a guest in the meantime."""
    return any(text in str(error) for text in ("already exists", "already taken"))
