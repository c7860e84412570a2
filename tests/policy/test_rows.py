"""The table of actions, held against the API's schema and the risks that the design names."""

import re
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError, find
from mqtt_bridge.actions.power_rows import TABLE, PowerRow, row_for, rows_of
from proxmox_mcp.lab import apitable

# DESIGN: "Risk of each, for policy".
RISKS = {
    "operate": {"start", "shutdown", "reboot", "restart", "suspend", "resume", "hibernate", "startall", "wakeonlan"},
    "change": {"stop", "reset"},
    "destroy": {"node.reboot", "node.shutdown", "stopall"},
}
IDS = [f"{row.name}-{'+'.join(sorted(row.types))}" for row in TABLE]
SAMPLES: dict[str, Any] = {
    "timeout": 5, "overrule_shutdown": True, "vmids": [100], "force": True, "force_stop": True, "max_workers": 2,
}  # fmt: skip
LIMITS = {"timeout": (0, 7200), "max_workers": (1, 64)}


def parameters(row: PowerRow, args: dict[str, Any]) -> dict[str, Any]:
    """As a plan makes them; `vms` are the guests that are there."""
    given = find(row.name).arguments(args)
    named = {"vms": ",".join(map(str, args["vmids"]))} if args.get("vmids") else {}
    return {**given.params("vmids"), **row.fixed, **named}


def schema(row: PowerRow, kind: str) -> dict[str, Any]:
    path = "/" + row.path.replace("{type}", kind)
    return apitable.paths("pve")[path]["POST"].parameters


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_every_call_is_in_the_schema_with_its_parameters(row: PowerRow) -> None:
    for kind in row.types:
        known = schema(row, kind)
        given = parameters(row, {name: SAMPLES[name] for name in row.args.model_fields})
        assert given.keys() <= known.keys()
        required = {name for name, facts in known.items() if not facts.get("optional")}
        assert required <= {*given, *re.findall(r"{(\w+)}", row.path)}
        for name, value in row.fixed.items():
            assert value in known[name].get("enum", [0, 1])
        assert not {"skiplock", "forceStop", "migratedfrom", "force-cpu", "machine"} & given.keys()


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_limits_of_arguments_are_within_the_schema_s(row: PowerRow) -> None:
    for kind in row.types:
        for name in LIMITS.keys() & row.args.model_fields.keys():
            facts = schema(row, kind)[row.args.model_fields[name].serialization_alias or name]
            least, most = LIMITS[name]
            assert least >= facts.get("minimum", 0)
            assert most <= facts.get("maximum", most)
            for wrong in (least - 1, most + 1):
                with pytest.raises(ActionError):
                    find(row.name).arguments({name: wrong})


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_privileges_are_those_that_the_schema_checks(row: PowerRow) -> None:
    for kind in row.types:
        path = "/" + row.path.replace("{type}", kind)
        check = (apitable.paths("pve")[path]["POST"].permissions or {}).get("check")
        if check is None:  # startall and stopall check each guest in code
            assert row.named
            continue
        assert (check[1], check[2]) == (row.privileges[0].path, [row.privileges[0].name])


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_risks_are_the_design_s(row: PowerRow) -> None:
    short = row.name if row.name in RISKS["destroy"] else row.name.partition(".")[2]
    assert short in RISKS[row.risk]
    assert not (row.takes_down and row.done_in & {"running"})


def test_rows_of_one_name_apply_to_different_guests_and_share_their_risk() -> None:
    for name in {row.name for row in TABLE}:
        rows = rows_of(name)
        kinds = [kind for row in rows for kind in row.types]
        assert len(kinds) == len(set(kinds))
        assert len({(row.risk, row.target) for row in rows}) == 1


@pytest.mark.parametrize("name", ["hibernate", "reset"])
def test_what_containers_cannot_do_is_refused_with_what_they_can(name: str) -> None:
    with pytest.raises(ActionError, match="shutdown"):
        row_for(f"guest.{name}", "lxc")


@pytest.mark.parametrize(
    ("action", "args", "text"),
    [
        ("guest.start", {"skiplock": True}, "no argument skiplock"),
        ("guest.shutdown", {"force_stop": True}, "It takes: timeout"),
        ("guest.shutdown", {"timeout": -1}, "greater than or equal to 0"),
        ("guest.shutdown", {"timeout": True}, "whole number"),
        ("guest.shutdown", {"timeout": "5"}, "whole number"),
        ("guest.stop", {"overrule_shutdown": 1}, "true or false"),
        ("node.stopall", {"vmids": []}, "at least one"),
        ("node.stopall", {"vmids": "100"}, "must be a list"),
        ("node.stopall", {"vmids": [100, "101"]}, "whole number"),
    ],
)
def test_arguments_are_checked(action: str, args: dict[str, Any], text: str) -> None:
    with pytest.raises(ActionError, match=text):
        find(action).arguments(args)


def test_arguments_become_the_api_s_parameters() -> None:
    assert parameters(rows_of("node.stopall")[0], {"vmids": [100, 101], "force_stop": False, "timeout": None}) == {
        "vms": "100,101",
        "force-stop": 0,
    }
    assert parameters(rows_of("guest.hibernate")[0], {}) == {"todisk": 1}


def test_an_unknown_action_lists_what_there_is() -> None:
    with pytest.raises(ActionError, match=r"guest\.start, guest\.stop"):
        find("guest.explode")
