"""A refusal for want of a privilege, with what grants it: where Proxmox does not say which, the action's row does."""

from mqtt_bridge.actions.plan import Plan
from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.proxmox.privileges import alternatives, grant_lines
from mqtt_bridge.targets import DatastoreTarget


def named(plan: Plan, error: ForbiddenError) -> ForbiddenError:
    """The same error with the commands that grant what the row needs.

    Unchanged where Proxmox has named the one privilege itself. Proxmox VE names all that one of which suffices to get
    past its first check; a Backup Server names none.
    """
    needs = _any_of(plan, error) if error.privilege else _datastore(plan)
    if not needs:
        return error
    owner, kind = plan.api.site.endpoints[0], plan.api.site.kind
    lines = "\n".join(
        dict.fromkeys(grant_lines(kind, path, name, owner.user, owner.token_name) for name, path in needs)
    )
    what = ", ".join(f"{name} on {path}" for name, path in needs)
    where = "Proxmox host" if kind == "pve" else "Backup Server"
    return ForbiddenError(
        error.message,
        cure=f"It needs {what}. Run as root on the {where}: {lines}",
        host=error.host,
        path=needs[0][1],
        privilege=needs[0][0],
    )


def _any_of(plan: Plan, error: ForbiddenError) -> list[tuple[str, str]]:
    """Those of the row that are among the alternatives."""
    given = alternatives(error.privilege)
    if len(given) <= 1:
        return []
    return [(each.name, error.path) for each in plan.row.privileges if each.name in given]


def _datastore(plan: Plan) -> list[tuple[str, str]]:
    store = next((one.target.store for one in plan.objects if isinstance(one.target, DatastoreTarget)), "")
    if plan.row.kind != "pbs" or not store:
        return []
    return [(each.name, each.path.replace("{store}", store)) for each in plan.row.privileges]
