"""Finding guests and nodes over several sites, and reading them fresh."""

from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError, Actions, Plan, find
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.vmids import Vmids
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.errors import NotFoundError, PolicyError, UnknownTargetError, UnreachableError
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.lookup import find_guest, find_node, guests_on
from mqtt_bridge.proxmox.own_guests import OwnGuests
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, GuestTarget, NodeRef
from mqtt_bridge.whoami import Identity
from tests.policy.recorder import FakeGuest, Recorder, site


def two_sites(**more: Any) -> dict[str, Recorder]:
    return {
        "a": Recorder([FakeGuest(100), FakeGuest(101, node="pve2")], site=site("a")),
        "b": Recorder([FakeGuest(100)], nodes={"pve1": True}, site=site("b"), **more),
    }


async def test_a_vmid_alone_finds_its_site_and_node() -> None:
    guest = await find_guest(two_sites(), 101)
    assert (guest.site, guest.node, guest.type, guest.label) == ("a", "pve2", "qemu", "VM 101 (web)")


async def test_a_vmid_on_two_sites_is_ambiguous_and_the_sites_are_named() -> None:
    with pytest.raises(UnknownTargetError) as caught:
        await find_guest(two_sites(), 100)
    assert caught.value.candidates == ("a", "b")
    assert (await find_guest(two_sites(), 100, "b")).site == "b"


async def test_a_site_that_does_not_answer_may_have_the_vmid_too() -> None:
    clients = two_sites(error=UnreachableError("b is down."))
    with pytest.raises(UnknownTargetError, match="b cannot be asked"):
        await find_guest(clients, 101)
    assert (await find_guest(clients, 101, "a")).vmid == 101
    with pytest.raises(UnreachableError):
        await find_guest(clients, 555)
    with pytest.raises(UnknownTargetError, match="cannot be asked"):
        await find_node(clients, "pve2")


async def test_an_unknown_vmid_lists_the_nearest() -> None:
    api = Recorder([FakeGuest(v, name=f"g{v}") for v in (100, 500, 105, 900)])
    with pytest.raises(UnknownTargetError) as caught:
        await find_guest({"lab": api}, 104)
    assert caught.value.candidates[:2] == ("105 (g105, pve1)", "100 (g100, pve1)")
    assert "105" in str(caught.value)


async def test_a_token_that_sees_nothing_is_told_so() -> None:
    with pytest.raises(UnknownTargetError, match=r"VM\.Audit"):
        await find_guest({"lab": Recorder([])}, 100)


async def test_the_wrong_node_is_corrected() -> None:
    with pytest.raises(UnknownTargetError, match="not on node pve1 but on pve2"):
        await find_guest({"lab": Recorder([FakeGuest(100, node="pve2")])}, 100, node="pve1")


async def test_unknown_sites_and_backup_servers_are_no_place_for_guests() -> None:
    clients = {"lab": Recorder([FakeGuest(100)]), "pbs": Recorder([FakeGuest(100)], site=site("pbs", "pbs"))}
    assert (await find_guest(clients, 100)).site == "lab"
    for name in ("pbs", "nowhere"):
        with pytest.raises(UnknownTargetError, match="Sites: lab"):
            await find_guest(clients, 100, name)


async def test_a_guest_that_migrates_meanwhile_is_found_again() -> None:
    class Migrating(Recorder):
        async def get(self, *segments: str | int, **more: Any) -> Any:
            answer = await super().get(*segments, **more)
            if segments[0] == "cluster":
                self.guests[0].node = "pve2"
            return answer

    guest = await find_guest({"lab": Migrating([FakeGuest(100)])}, 100)
    assert guest.node == "pve2"


async def test_a_guest_that_stays_gone_is_an_error() -> None:
    class Vanishing(Recorder):
        async def get(self, *segments: str | int, **more: Any) -> Any:
            if segments[0] == "nodes":
                raise NotFoundError("Configuration file does not exist", status=500)
            return await super().get(*segments, **more)

    with pytest.raises(NotFoundError):
        await find_guest({"lab": Vanishing([FakeGuest(100)])}, 100)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "running"),
        ({"status": "stopped", "listed_status": "running"}, "stopped"),
        ({"qmpstatus": "paused"}, "paused"),
        ({"status": "stopped", "lock": "suspended"}, "suspended"),
        ({"status": "strange"}, "unknown"),
    ],
)
async def test_the_state_is_the_one_of_status_current(fields: dict[str, Any], state: str) -> None:
    guest = await find_guest({"lab": Recorder([FakeGuest(100, **fields)])}, 100)
    assert guest.state == state


async def test_what_a_guest_is_comes_from_all_three_answers() -> None:
    fake = FakeGuest(
        100,
        pool="web/blue",
        row_tags="A;b",
        lock="backup",
        config={"tags": "c, D", "protection": 1, "template": 1},
        current={"tags": "e", "ha": {"managed": 1}},
    )
    guest = await find_guest({"lab": Recorder([fake])}, 100, me=Identity(macs=frozenset({"aa:bb:cc:dd:ee:ff"})))
    assert guest.tags == frozenset("abcde")
    assert (guest.pool, guest.lock, guest.protection, guest.template, guest.ha, guest.is_self) == (
        "web/blue", "backup", True, True, True, False,
    )  # fmt: skip


async def test_a_node_s_guests_have_the_states_that_the_node_tells() -> None:
    api = Recorder([
        FakeGuest(101, "lxc", pool="p"),
        FakeGuest(100, status="running", listed_status="stopped"),
        FakeGuest(102, config={"template": 1}),
        FakeGuest(103, node="pve2"),
    ])  # fmt: skip
    guests = await guests_on(api, "pve1")
    assert [(g.vmid, g.type, g.state, g.pool) for g in guests] == [
        (100, "qemu", "running", None),
        (101, "lxc", "running", "p"),
    ]


async def test_nodes_are_found_by_name_and_candidates_listed() -> None:
    node = await find_node(two_sites(), "pve2")
    assert (node.site, node.online, node.is_self) == ("a", True, False)
    with pytest.raises(UnknownTargetError) as caught:
        await find_node(two_sites(), "pve1")
    assert caught.value.candidates == ("a", "b")
    with pytest.raises(UnknownTargetError, match=r"pve1 \(a\)"):
        await find_node(two_sites(), "pve9")


async def test_a_node_whose_address_is_ours_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.proxmox.lookup.is_own_address", lambda ip: ip == "192.0.2.7")
    api = Recorder(addresses={"pve1": "192.0.2.7", "pve2": "192.0.2.8"})
    assert (await find_node({"lab": api}, "pve1")).is_self
    assert not (await find_node({"lab": api}, "pve2")).is_self


@pytest.mark.parametrize(
    "permissions",
    [
        {},
        {"/": {"Sys.PowerMgmt": 1}},
        {"/pool/web": {"VM.Audit": 1}},
        {"/": {"VM.Audit": 0}},
        {"/": {"VM.Audit": 1}, "/vms/100": {"VM.PowerMgmt": 1}},
    ],
)
async def test_a_node_is_not_taken_down_by_who_cannot_see_all_its_guests(permissions: dict[str, Any]) -> None:
    api = Recorder([FakeGuest(100)], permissions=permissions)
    with pytest.raises(PolicyError, match="may not see all") as caught:
        await plan(api, Identity(), "node.reboot", NodeRef("pve1"))
    assert "pveum acl modify /vms" in caught.value.cure


async def plan(api: Recorder, own: Identity | OwnGuests, name: str, ref: NodeRef, **args: Any) -> Plan:
    mine = own if isinstance(own, OwnGuests) else OwnGuests(own)
    row = find(name)
    return await row.plan(Reading({"lab": api}, mine, Vmids()), ref, row.arguments(args))


async def test_each_configuration_is_read_once_to_find_ourselves() -> None:
    api = Recorder([FakeGuest(100), FakeGuest(101, config={"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0"})])
    own = OwnGuests(Identity(macs=frozenset({"bc:24:11:00:00:01"})))
    for _ in range(2):
        made = await plan(api, own, "node.stopall", NodeRef("pve1"))
        guests = [o.target for o in made.objects if isinstance(o.target, GuestTarget)]
        assert [(g.vmid, g.is_self) for g in guests] == [(100, False), (101, True)]
    assert len([read for read in api.reads if read[-1] == "config" and read[3] == 100]) == 1


async def test_bulk_actions_name_their_guests() -> None:
    api = Recorder([FakeGuest(100), FakeGuest(101, status="stopped"), FakeGuest(102, "lxc")])
    stop = await plan(api, Identity(), "node.stopall", NodeRef("pve1"), force_stop=False)
    assert stop.steps[0].params == {"force-stop": 0, "vms": "100,102"}
    start = await plan(api, Identity(), "node.startall", NodeRef("pve1"))
    assert start.steps[0].params == {"vms": "101"}
    chosen = await plan(api, Identity(), "node.stopall", NodeRef("pve1"), vmids=[102])
    assert chosen.steps[0].params == {"vms": "102"}


async def test_actions_are_for_their_kind_of_target(tmp_path: Path) -> None:
    actions = Actions({"lab": Recorder([FakeGuest(100)])}, PermissionSettings(), Audit(tmp_path), me=Identity())
    asked: tuple[tuple[str, NodeRef | GuestRef], ...] = (
        ("guest.start", NodeRef("pve1")),
        ("node.reboot", GuestRef(100)),
    )
    for action, ref in asked:
        with pytest.raises(ActionError, match="is for a"):
            await actions.perform(Principal("x", "stdio"), action, ref, dry_run=True)
