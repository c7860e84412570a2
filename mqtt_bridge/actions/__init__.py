"""What can be done to Proxmox: a table of actions, and the one way to carry one out.

To add one: a row with a closed model of its arguments and a `plan` coroutine in a file of this package, and the file's
`ROWS` in `FILES` below. The policy, dry runs, approvals, the audit file, MQTT commands and `get_permissions` know it
from then on.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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
from mqtt_bridge.actions.perform import DEFAULT_TIMEOUT, After, Expecting, Performer
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.result import ActionResult, ApprovalNeeded, PlannedCall
from mqtt_bridge.actions.row import Action, ActionError, Args, NoArgs, Privilege
from mqtt_bridge.approvals import Approvals
from mqtt_bridge.audit import Audit
from mqtt_bridge.policy import Principal, allowed
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.settings import PermissionSettings

__all__ = [
    "ACTIONS",
    "DEFAULT_TIMEOUT",
    "NAMES",
    "Action",
    "ActionError",
    "ActionResult",
    "Actions",
    "After",
    "ApprovalNeeded",
    "Approvals",
    "Args",
    "Expecting",
    "NoArgs",
    "Outcome",
    "Plan",
    "PlannedCall",
    "Privilege",
    "Seen",
    "Step",
    "find",
    "visible",
]

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


class Actions(Performer):
    """The performer of all actions."""

    def __init__(self, clients: Mapping[str, Api], permission: PermissionSettings, audit: Audit, **more: Any) -> None:
        super().__init__(find, clients, permission, audit, **more)
