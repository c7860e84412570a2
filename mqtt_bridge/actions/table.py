"""The table of all actions. To add one: a row in a file of this package, and the file's `ROWS` in `FILES`."""

from collections.abc import Mapping
from types import MappingProxyType

from mqtt_bridge.actions import (
    agent,
    backups,
    datastores,
    disks,
    ending,
    images,
    migrate,
    network,
    power,
    provision_clone,
    provision_cloudinit,
    provision_lxc,
    provision_update,
    provision_vm,
    restore,
    snapshots,
)
from mqtt_bridge.actions.row import Action, ActionError
from mqtt_bridge.policy import Principal, allowed

FILES: tuple[tuple[Action, ...], ...] = (
    power.ROWS,
    agent.ROWS,
    disks.ROWS,
    network.ROWS,
    provision_vm.ROWS,
    provision_lxc.ROWS,
    provision_clone.ROWS,
    provision_update.ROWS,
    provision_cloudinit.ROWS,
    migrate.ROWS,
    ending.ROWS,
    images.ROWS,
    snapshots.ROWS,
    backups.ROWS,
    restore.ROWS,
    datastores.ROWS,
)
ACTIONS: Mapping[str, Action] = MappingProxyType({row.name: row for rows in FILES for row in rows})
NAMES: tuple[str, ...] = tuple(ACTIONS)


def find(name: str) -> Action:
    """An action's row; ActionError if there is none."""
    if row := ACTIONS.get(name):
        return row
    raise ActionError(f"There is no action {name}.", cure=f"There are: {', '.join(NAMES)}.")


def visible(principal: Principal) -> tuple[str, ...]:
    """The actions that the principal's level admits; the others need not be shown to it."""
    return tuple(name for name, row in ACTIONS.items() if allowed(principal, row))
