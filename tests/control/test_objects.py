"""What an action's calls touch is what it says it touches: an object that was forgotten is one that no rule judges."""

import asyncio

import pytest

from mqtt_bridge.actions import Plan
from mqtt_bridge.actions.row import revealed
from mqtt_bridge.targets import (
    BackupTarget,
    DatastoreTarget,
    GuestTarget,
    NewGuest,
    NodeTarget,
    StorageTarget,
    WebTarget,
)
from proxmox_mcp.lab import apitable
from tests.control import touching
from tests.control.samples import ORDERS, SAMPLES, planned
from tests.control.world import world


@pytest.fixture
def plan(action: str, number: int) -> Plan:
    sample = SAMPLES[action][number]
    return asyncio.run(planned(world().clients(sample.overlay), action, sample))


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_everything_that_a_step_names_is_an_object_of_the_plan(plan: Plan) -> None:
    new = frozenset(one.target.vmid for one in plan.objects if isinstance(one.target, NewGuest))
    known = touching.declared(plan.objects)
    for step in plan.steps:
        named = set(touching.things(step, world(), new))
        assert named <= known, f"{step.method} {step.path} touches what the plan does not name: {named - known}"


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_guests_are_touched_in_a_role_that_fits_the_call(plan: Plan) -> None:
    for step in plan.steps:
        for vmid, fitting in touching.roles(step, plan.row.kind):
            assert touching.held(plan, vmid) & fitting, f"{step.method} {step.path}: guest {vmid} is not {fitting}"


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_storages_are_named_where_they_are_used(plan: Plan) -> None:
    """A folder `local` of another node is another one: its node has to stand in the plan too."""
    nodes = {str(step.segments[1]) for step in plan.steps if step.segments[0] == "nodes"}
    target = {str(step.params["target"]) for step in plan.steps if "target" in step.params}
    for one in plan.objects:
        if isinstance(one.target, StorageTarget) and not one.target.shared:
            assert one.target.node in nodes | target


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_calls_that_reach_a_whole_datastore_say_so(plan: Plan) -> None:
    for step in plan.steps:
        if plan.row.kind == "pbs" and "backup-id" not in step.params:
            stores = [one.target for one in plan.objects if isinstance(one.target, DatastoreTarget)]
            assert stores
            assert all(one.whole for one in stores), step.path


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_calls_are_in_the_schema(plan: Plan) -> None:
    for step in plan.steps:
        assert apitable.check_request(plan.row.kind, step.method, step.path, revealed(step.params)) == []


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_a_plan_has_its_target_and_the_node_it_works_on(plan: Plan) -> None:
    places = {one.target.node for one in plan.objects}
    assert plan.target in {one.target for one in plan.objects} or isinstance(plan.target, NodeTarget)
    assert {str(step.segments[1]) for step in plan.steps if step.segments[0] == "nodes"} <= places
    assert {one.target.site for one in plan.objects} == {plan.target.site}


FORGOTTEN = (
    ("guest.clone", 1, NewGuest),
    ("guest.clone", 1, StorageTarget),
    ("guest.migrate", 0, NodeTarget),
    ("guest.migrate", 1, StorageTarget),
    ("guest.update", 0, GuestTarget),
    ("guest.delete", 0, GuestTarget),
    ("guest.cloudinit", 1, StorageTarget),
    ("vm.create", 1, NewGuest),
    ("vm.create", 2, GuestTarget),
    ("vm.create", 2, StorageTarget),
    ("lxc.create", 0, StorageTarget),
    ("disk.add", 0, StorageTarget),
    ("disk.move", 0, StorageTarget),
    ("disk.move", 2, GuestTarget),
    ("backup.create", 0, StorageTarget),
    ("backup.restore", 0, BackupTarget),
    ("backup.restore", 0, StorageTarget),
    ("backup.delete", 0, BackupTarget),
    ("backup.delete", 0, StorageTarget),
    ("image.download", 0, WebTarget),
    ("node.stopall", 1, GuestTarget),
    ("datastore.forget", 0, BackupTarget),
    ("datastore.gc", 0, DatastoreTarget),
)


@pytest.mark.parametrize(("action", "number", "kind"), FORGOTTEN)
def test_an_object_that_is_forgotten_is_found(plan: Plan, kind: type) -> None:
    """Or what is above would hold for a reader of steps that reads nothing."""
    new = frozenset(one.target.vmid for one in plan.objects if isinstance(one.target, NewGuest))
    kept = tuple(one for one in plan.objects if not isinstance(one.target, kind))
    missing = {thing for step in plan.steps for thing in touching.things(step, world(), new)} - touching.declared(kept)
    assert missing
