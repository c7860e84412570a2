"""A refusal for want of a privilege that the Backup Server does not name: the action's row knows what it needs."""

from mqtt_bridge.actions.plan import Plan
from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.targets import DatastoreTarget


def named(plan: Plan, error: ForbiddenError) -> ForbiddenError:
    """The same error with the commands that grant what the row needs; as it is where Proxmox has said it itself."""
    store = next((one.target.store for one in plan.objects if isinstance(one.target, DatastoreTarget)), "")
    if error.privilege or plan.row.kind != "pbs" or not store:
        return error
    owner = plan.api.site.endpoints[0]
    needs = [(each.name, each.path.replace("{store}", store)) for each in plan.row.privileges]
    lines = "\n".join(grant_lines("pbs", path, name, owner.user, owner.token_name) for name, path in needs)
    what = ", ".join(f"{name} on {path}" for name, path in needs)
    return ForbiddenError(
        error.message,
        cure=f"It needs {what}. Run as root on the Backup Server: {lines}",
        host=error.host,
        path=needs[0][1],
        privilege=needs[0][0],
    )
