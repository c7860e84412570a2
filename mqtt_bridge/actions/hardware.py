"""What changes of a guest's disks and interfaces share: slots, the call that changes them, and what is there then."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mqtt_bridge.actions.locks import locked
from mqtt_bridge.actions.plan import Method, Step
from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.targets import GuestTarget

GIB: Final = 1024**3
UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": GIB, "T": 1024 * GIB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)")
_PLUGGED = "network,disk,usb"  # what `hotplug` is where it is not set


def write_config(guest: GuestTarget, params: Mapping[str, Any]) -> Step:
    """A change of the configuration, refused by Proxmox if somebody else changed it since it was read.

    A VM's runs as a task (it may create a disk), a container's is answered when it is done.
    """
    method: Method = "POST" if guest.type == "qemu" else "PUT"
    return Step(method, below(guest, "config"), {**params, **digest(guest)}, task=False)


def below(guest: GuestTarget, *tail: str) -> tuple[str | int, ...]:
    """A path below the guest's own."""
    return ("nodes", guest.node, guest.type, guest.vmid, *tail)


def digest(guest: GuestTarget, key: str = "digest") -> dict[str, str]:
    """What binds a call to the configuration that was read."""
    known = guest.config.get("digest")
    return {key: str(known)} if known else {}


async def config_now(api: Api, guest: GuestTarget) -> Mapping[str, Any]:
    """The configuration that is in force: without what waits for the guest to stop."""
    return dict(await api.get(*below(guest, "config"), current=1))


def free_key(config: Mapping[str, Any], prefix: str, slots: int) -> str | ActionError:
    """The first of `scsi0`, `scsi1`, … that is not taken."""
    free = (f"{prefix}{number}" for number in range(slots) if f"{prefix}{number}" not in config)
    text = f"All {slots} places for {prefix} are taken."
    return next(free, ActionError(text, cure="Take one away first, or use another kind."))


def unchangeable(guest: GuestTarget) -> ActionError | None:
    """Why its hardware is not changed now: a lock, or clones that depend on it."""
    if guest.template:
        text = f"{guest.label} is a template: clones may depend on its disks and take over its hardware."
        return ActionError(text, cure="Clone it and change the clone.")
    return locked(guest)


def plugs(guest: GuestTarget, what: str) -> bool:
    """Whether `disk` or `network` can change while it runs (its option `hotplug`)."""
    given = str(guest.config.get("hotplug", _PLUGGED))
    return what in (_PLUGGED if given == "1" else given).split(",")


def stop_first(guest: GuestTarget, why: str) -> ActionError:
    """The error of what a running guest cannot do."""
    return ActionError(f"{guest.label} is running: {why}.", cure="Shut it down first, then call again.")


def first(problems: Iterable[ActionError | None]) -> ActionError | None:
    """The first thing that is wrong."""
    return next((each for each in problems if each), None)


def size_of(text: str) -> int | None:
    """Bytes of `32G`; None if it is no size."""
    found = _SIZE.fullmatch(text.strip())
    return int(float(found[1]) * UNITS[found[2]]) if found else None


def size_text(size: int) -> str:
    """Bytes with the largest unit that divides them, as Proxmox writes them."""
    unit = next(unit for unit in ("T", "G", "M", "K", "") if size % UNITS[unit] == 0)
    return f"{size // UNITS[unit]}{unit}"
