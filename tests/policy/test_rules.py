"""Each rule alone, on plain data."""

from dataclasses import replace
from typing import Any

import pytest

from mqtt_bridge.actions import ACTIONS, NAMES, Action, find, visible
from mqtt_bridge.policy import CEILINGS, Channel, Principal, Refusal, allowed, needs_approval, within
from mqtt_bridge.policy import judge as judge_touched
from mqtt_bridge.settings import LEVELS, Level, PermissionSettings
from mqtt_bridge.targets import GuestTarget, NodeTarget, Role, Target, Touched

AGENT = Principal("agent", "stdio", "exec")
GUEST = GuestTarget("lab", 100, "qemu", "pve1", "web01", "running", frozenset({"prod"}), "web")
NODE = NodeTarget("lab", "pve1", online=True)
START, STOP, REBOOT, NODE_REBOOT, STARTALL = (
    find(name) for name in ("guest.start", "guest.stop", "guest.reboot", "node.reboot", "node.startall")
)
TABLE = tuple(row for row in ACTIONS.values() if row.target == "node" or row.name.startswith("guest."))


def judge(
    permission: PermissionSettings, who: Principal, row: Action, objects: tuple[Target, ...], role: Role = "write"
) -> Refusal | None:
    return judge_touched(permission, who, row, [Touched(one, role) for one in objects])


def asks(permission: PermissionSettings, row: Action, *objects: Target) -> str:
    return needs_approval(permission, AGENT, row, [Touched(one) for one in objects])


def rules(**fields: Any) -> PermissionSettings:
    return PermissionSettings(**({"mcp_allow": "exec", "approval_required": frozenset()} | fields))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_level_admits_its_risks_and_no_more(row: Action, level: Level) -> None:
    principal = Principal("agent", "stdio", level)
    refusal = judge(rules(), principal, row, (GUEST,))

    admitted = LEVELS.index(row.risk) <= LEVELS.index(level)
    assert allowed(principal, row) is admitted
    assert (refusal is None) is admitted
    if refusal:
        assert refusal.setting == "MCP_ALLOW"
        assert f"MCP_ALLOW={row.risk}" in refusal.cure
        assert "PROXMOX_ALLOW_ELEVATED" in refusal.cure


@pytest.mark.parametrize("channel", CEILINGS)
def test_the_refusal_names_the_setting_of_the_channel(channel: Channel) -> None:
    refusal = judge(rules(), Principal("x", channel, "read"), START, (GUEST,))
    assert refusal is not None
    assert refusal.setting == CEILINGS[channel]
    assert ("PROXMOX_ALLOW_ELEVATED" in refusal.cure) is (CEILINGS[channel] == "MCP_ALLOW")


def test_what_a_level_forbids_is_not_listed() -> None:
    assert visible(Principal("x", "stdio", "read")) == ()
    operate = visible(Principal("x", "stdio", "operate"))
    assert "guest.start" in operate
    assert not {"guest.stop", "guest.reset", "node.reboot", "node.stopall"} & set(operate)
    assert visible(AGENT) == NAMES


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"node_allowlist": frozenset({"pve2"})}, "PROXMOX_NODE_ALLOWLIST"),
        ({"node_allowlist": frozenset()}, "PROXMOX_NODE_ALLOWLIST"),
        ({"vmid_allowlist": frozenset({101})}, "PROXMOX_VMID_ALLOWLIST"),
        ({"pool_allowlist": frozenset({"db"})}, "PROXMOX_POOL_ALLOWLIST"),
        ({"pool_allowlist": frozenset({"we"})}, "PROXMOX_POOL_ALLOWLIST"),
        ({"vmid_allowlist": frozenset({100}), "pool_allowlist": frozenset({"db"})}, "PROXMOX_POOL_ALLOWLIST"),
    ],
)
def test_allow_lists_admit_nothing_else(fields: dict[str, Any], setting: str) -> None:
    refusal = judge(rules(**fields), AGENT, START, (GUEST,))
    assert refusal is not None
    assert refusal.setting == setting
    assert setting in refusal.cure


@pytest.mark.parametrize(
    "fields",
    [
        {"node_allowlist": frozenset({"pve1"})},
        {"vmid_allowlist": frozenset({100})},
        {"pool_allowlist": frozenset({"web"})},
        {
            "node_allowlist": frozenset({"pve1"}),
            "vmid_allowlist": frozenset({100}),
            "pool_allowlist": frozenset({"web"}),
        },
    ],
)
def test_what_is_on_every_list_passes(fields: dict[str, Any]) -> None:
    assert judge(rules(**fields), AGENT, STOP, (GUEST,)) is None


def test_a_guest_whose_pool_is_not_known_is_outside_a_pool_list() -> None:
    refusal = judge(rules(pool_allowlist=frozenset({"web"})), AGENT, START, (replace(GUEST, pool=None),))
    assert refusal is not None
    assert "in no pool" in refusal.reason


@pytest.mark.parametrize(
    ("pool", "inside"), [("web", True), ("web/blue", True), ("webshop", False), ("a/web", False), (None, False)]
)
def test_a_pool_contains_its_sub_pools(pool: str | None, inside: bool) -> None:
    assert within(pool, {"web"}) is inside


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"protected_tags": frozenset({"PROD"})}, "PROXMOX_PROTECTED_TAGS"),
        ({"protected_pools": frozenset({"Web"})}, "PROXMOX_PROTECTED_POOLS"),
    ],
)
def test_the_protected_are_not_taken_down_but_may_be_started(fields: dict[str, Any], setting: str) -> None:
    permission = rules(**fields)
    down = [row for row in TABLE if row.target == "guest" and (row.takes_down or row.risk != "operate")]
    for row in down:
        refusal = judge(permission, AGENT, row, (GUEST,))
        assert refusal is not None, row.name
        assert refusal.setting == setting
    assert {row.name for row in TABLE if judge(permission, AGENT, row, (GUEST,)) is None} == {
        "guest.start",
        "guest.resume",
        "node.startall",
        "node.wakeonlan",
    }


def test_a_protected_guest_keeps_its_node_up() -> None:
    permission = rules(protected_tags=frozenset({"prod"}))
    assert judge(permission, AGENT, NODE_REBOOT, (NODE,)) is None
    refusal = judge(permission, AGENT, NODE_REBOOT, (NODE, GUEST))
    assert refusal is not None
    assert "VM 100 (web01)" in refusal.reason
    assert judge(permission, AGENT, STARTALL, (NODE, GUEST)) is None


def test_proxmox_s_protection_flag_guards_existence_and_not_power() -> None:
    guarded = replace(GUEST, protection=True)
    assert judge(rules(), AGENT, STOP, (guarded,)) is None
    assert judge(rules(), AGENT, NODE_REBOOT, (NODE, guarded)) is None
    delete = replace(STOP, name="guest.delete", title="Delete", risk="destroy")
    refusal = judge(rules(), AGENT, delete, (guarded,), "destroy")
    assert refusal is not None
    assert "protection" in refusal.reason
    assert judge(rules(), AGENT, delete, (GUEST,), "destroy") is None


@pytest.mark.parametrize(
    ("permission", "objects"),
    [
        (rules(self_guests=frozenset({100})), (GUEST,)),
        (rules(), (replace(GUEST, is_self=True),)),
    ],
)
def test_our_own_guest_is_never_taken_down_without_an_approval_whatever_the_settings(
    permission: PermissionSettings, objects: tuple[GuestTarget, ...]
) -> None:
    for row in TABLE:
        touched: tuple[Target, ...] = objects if row.target == "guest" else (NODE, *objects)
        why = asks(permission, row, *touched)
        assert bool(why) is row.takes_down, row.name
        assert not why or "runs on" in why


def test_the_node_that_we_run_on_stays_up() -> None:
    assert "node pve1" in asks(rules(), NODE_REBOOT, replace(NODE, is_self=True))
    assert not asks(rules(), STARTALL, replace(NODE, is_self=True))


def test_risks_that_need_an_approval() -> None:
    default = PermissionSettings(mcp_allow="exec")
    assert "APPROVAL_REQUIRED" in asks(default, NODE_REBOOT, NODE)
    assert judge(default, AGENT, NODE_REBOOT, (NODE,)) is None
    assert not asks(default, STOP, GUEST)
    assert not asks(rules(), NODE_REBOOT, NODE)


def test_a_refusal_becomes_an_error_that_names_the_setting() -> None:
    refusal = judge(rules(vmid_allowlist=frozenset()), AGENT, REBOOT, (GUEST,))
    assert refusal is not None
    error = refusal.error()
    assert error.setting == "PROXMOX_VMID_ALLOWLIST"
    assert "VM 100 (web01)" in str(error)
    assert "PROXMOX_VMID_ALLOWLIST" in error.cure
