"""One forbidden object, in every place where an object can stand, and nothing is sent: for every action."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.actions import Actions
from mqtt_bridge.actions.power_rows import TABLE, PowerRow
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, NodeRef
from mqtt_bridge.whoami import Identity, read_identity
from tests.policy.recorder import FakeGuest, Recorder

AGENT = Principal("agent", "stdio", "exec")
UUID = "af995afb-5b0b-94e9-2013-15bf61db0169"
MAC = "bc:24:11:00:00:64"
HARMLESS = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
STATES = {"running": "running", "stopped": "stopped", "paused": "running", "suspended": "stopped"}


def fitting(row: PowerRow) -> tuple[str, str | None, str | None]:
    """Status, qmpstatus and lock of a guest for which the action makes sense, so that only the policy can refuse."""
    wanted = row.only_in or row.touches or frozenset({"running"})
    state = "paused" if wanted == {"paused", "suspended"} else min(wanted)
    return STATES[state], ("paused" if state == "paused" else None), ("suspended" if state == "suspended" else None)


@st.composite
def tag_texts(draw: st.DrawFn, tag: str) -> str:
    """The tag among others, in any case, with whatever Proxmox and people put between tags."""
    others = draw(st.lists(st.sampled_from(["web", "x", "blue-green", "prod2"]), max_size=3))
    spelled = "".join(c.upper() if draw(st.booleans()) else c for c in tag)
    words = [*others[:1], spelled, *others[1:]]
    return draw(st.sampled_from([";", ",", " ", "; ", " ,", ";;"])).join(words)


PLACES = (
    *("node", "vmid", "pool"),
    *("protected pool", "sub-pool", "row tag", "config tag", "live tag", "self id", "self uuid", "self mac"),
)
SPARES_STARTS = frozenset(PLACES[3:])


def forbid(place: str, text: str) -> tuple[dict[str, Any], PermissionSettings, Identity]:
    """What makes a guest forbidden, the rules under which it is, and who we are."""
    nobody = Identity()
    tags = replace(HARMLESS, protected_tags=frozenset({"prod"}))
    mac = Identity(macs=frozenset({MAC}))
    rows: dict[str, tuple[dict[str, Any], PermissionSettings, Identity]] = {
        "node": ({}, replace(HARMLESS, node_allowlist=frozenset({"pve2"})), nobody),
        "vmid": ({}, replace(HARMLESS, vmid_allowlist=frozenset({101, 102})), nobody),
        "pool": ({"pool": "b"}, replace(HARMLESS, pool_allowlist=frozenset({"a"})), nobody),
        "protected pool": ({"pool": "b"}, replace(HARMLESS, protected_pools=frozenset({"B"})), nobody),
        "sub-pool": ({"pool": "b/c"}, replace(HARMLESS, protected_pools=frozenset({"b"})), nobody),
        "row tag": ({"row_tags": text}, tags, nobody),
        "config tag": ({"config": {"tags": text}}, tags, nobody),
        "live tag": ({"current": {"tags": text}}, tags, nobody),
        "self id": ({}, replace(HARMLESS, self_guests=frozenset({100})), nobody),
        "self uuid": ({"config": {"smbios1": f"base64=1,uuid={UUID.upper()}"}}, HARMLESS, identity(UUID)),
        "self mac": ({"config": {"net1": f"virtio={MAC.upper()},bridge=vmbr0"}}, HARMLESS, mac),
    }
    return rows[place]


def identity(uuid: str) -> Identity:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "class/dmi/id").mkdir(parents=True)
        (Path(folder) / "class/dmi/id/product_uuid").write_text(uuid + "\n")
        return read_identity(Path(folder))


def world(row: PowerRow, kind: str, marks: dict[str, Any], *, among: int) -> Recorder:
    """The forbidden guest 100 on pve1; for a node action among others that nothing forbids."""
    status, qmp, lock = fitting(row)
    guest = FakeGuest(100, kind, status=status, qmpstatus=qmp, lock=lock, **{"pool": "a", **marks})
    fine: dict[str, Any] = {"status": status, "pool": "a"}
    others = [FakeGuest(101 + i, "lxc" if i % 2 else "qemu", **fine) for i in range(among)]
    return Recorder(guests=[*others, guest], nodes={"pve1": row.node_online, "pve2": True})


async def attempt(api: Recorder, row: PowerRow, permission: PermissionSettings, me: Identity, folder: Path) -> None:
    actions = Actions({"lab": api}, permission, Audit(folder), me=me)
    await actions.perform(AGENT, row.name, NodeRef("pve1") if row.target == "node" else GuestRef(100), timeout=0)


def applies(row: PowerRow, place: str) -> bool:
    """Starting something protected or our own is fine, and waking a node touches no guest."""
    if row.target == "node" and not row.touches and place != "node":
        return False
    if place == "config tag" and row.target == "node":
        return False  # lists have a guest's tags too: Proxmox makes both from one file
    return row.takes_down or row.risk != "operate" or place not in SPARES_STARTS


CASES = [(row, kind, place) for row in TABLE for kind in sorted(row.types) for place in PLACES if applies(row, place)]


@pytest.mark.parametrize(("row", "kind", "place"), CASES, ids=lambda value: str(getattr(value, "name", value)))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_one_forbidden_object_is_enough(row: PowerRow, kind: str, place: str, data: st.DataObject) -> None:
    marks, permission, me = forbid(place, data.draw(tag_texts("prod")))
    api = world(row, kind, marks, among=data.draw(st.integers(0, 2)))
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(PolicyError):
            asyncio.run(attempt(api, row, permission, me, Path(folder)))
        records = (Path(folder) / "audit.jsonl").read_text()
    assert api.writes == []
    assert "action.refused" in records
    assert "action.intent" not in records


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name}-{'+'.join(sorted(row.types))}")
def test_the_same_worlds_without_a_rule_are_acted_on(row: PowerRow, tmp_path: Path) -> None:
    """Or the property above would hold for a program that refuses everything."""
    api = world(row, max(row.types), {"row_tags": "prod"}, among=2)
    asyncio.run(attempt(api, row, HARMLESS, Identity(), tmp_path))
    assert len(api.writes) == 1
    records = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert ["action.intent" in records[0], "action.outcome" in records[1]] == [True, True]
