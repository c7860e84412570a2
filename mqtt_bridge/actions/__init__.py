"""What can be done to Proxmox: a table of actions, and the one way to carry one out.

To add one: a row with a closed model of its arguments and a `plan` coroutine in a file of this package, and the file's
`ROWS` in `table.py`. The policy, dry runs, approvals, the audit file, MQTT commands and `get_permissions` know it
from then on.
"""

from mqtt_bridge.actions.perform import DEFAULT_TIMEOUT, Actions, After, Expecting, Standing
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.result import ActionResult, ApprovalNeeded, PlannedCall
from mqtt_bridge.actions.row import Action, ActionError, Args, NoArgs, Privilege
from mqtt_bridge.actions.table import ACTIONS, NAMES, find, visible
from mqtt_bridge.approvals import Approvals

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
    "Standing",
    "Step",
    "find",
    "visible",
]
