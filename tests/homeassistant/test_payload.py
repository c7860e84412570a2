"""What is published for each kind of thing, held against what Home Assistant takes."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.homeassistant.payload import build
from mqtt_bridge.homeassistant.thing import ROWS
from mqtt_bridge.homeassistant.triggers import KEYS
from tests.homeassistant.things import AUDITOR, THINGS, around, guest, node

SNAPSHOTS = Path(__file__).parent / "payloads"
TOP = {"dev", "o", "avty", "avty_mode", "stat_t", "cmps"}
DEVICE = {"ids", "name", "mf", "mdl", "mdl_id", "sn", "sw", "cu", "via_device"}
COMPONENT = {
    "p", "name", "uniq_id", "def_ent_id", "val_tpl", "dev_cla", "unit_of_meas", "stat_cla", "sug_dsp_prc", "ic",
    "ent_cat", "en", "stat_t", "qos", "json_attr_t", "json_attr_tpl", "avty", "cmd_t", "cmd_tpl", "pl_prs", "pl_on",
    "pl_off", "stat_on", "stat_off", "evt_typ", "ops",
}  # fmt: skip
TRIGGER = {"atype", "type", "stype", "t", "pl", "val_tpl", "dev", "o"}
CLASSES: dict[str, set[str]] = {
    "binary_sensor": {"running", "connectivity", "problem"},
    "sensor": {"timestamp", "enum", "data_rate", "data_size", "temperature", "duration"},
    "switch": {"switch"},
    "button": {"restart"},
    "event": set(),
    "update": set(),
}
UNITS: dict[str | None, set[str | None]] = {
    "data_rate": {"kB/s"},
    "data_size": {"GiB"},
    None: {"%", None},
    "timestamp": {None},
    "enum": {None},
    "temperature": {"°C"},
    "duration": {"h"},
}


def payload(name: str, *entities: str, **more: Any) -> Any:
    config = build(THINGS[name], around(*entities, **more))
    assert config
    return json.loads(config.payload)


@pytest.mark.parametrize("name", THINGS)
def test_payloads_are_as_they_were(name: str) -> None:
    """SNAPSHOT_UPDATE=1 writes them again."""
    file = SNAPSHOTS / f"{name}.json"
    found = {**payload(name), "o": {}}
    if os.environ.get("SNAPSHOT_UPDATE"):
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", THINGS)
@pytest.mark.parametrize("entities", [(), ("*/*",)])
def test_home_assistant_takes_it(name: str, entities: tuple[str, ...]) -> None:
    whole = payload(name, *entities)
    assert set(whole) <= TOP
    assert set(whole["dev"]) <= DEVICE
    assert whole["o"]["name"]
    for key, one in whole["cmps"].items():
        assert re.fullmatch("[a-z0-9_]+", key)
        _check(one)
    ids = [one["uniq_id"] for one in whole["cmps"].values() if "uniq_id" in one]
    assert len(ids) == len(set(ids))


def _check(one: dict[str, Any]) -> None:
    platform = one["p"]
    assert set(one) <= COMPONENT
    assert re.fullmatch("[A-Za-z0-9_-]+", one["uniq_id"])
    assert re.fullmatch(rf"{platform}\.[a-z0-9_]+", one["def_ent_id"])
    assert one.get("dev_cla") is None or one["dev_cla"] in CLASSES[platform]
    assert one.get("ic", "mdi:x").startswith("mdi:")
    assert one.get("ent_cat") in ({None, "diagnostic", "config"} if platform != "sensor" else {None, "diagnostic"})
    if platform == "sensor":
        assert one.get("unit_of_meas") in UNITS[one.get("dev_cla")]
        assert one.get("stat_cla") is None or one.get("dev_cla") not in {"timestamp", "enum"}
        assert (one.get("dev_cla") == "enum") == ("ops" in one)
    if platform in {"switch", "button"}:
        assert '"ts"' in one["cmd_tpl"]
    if platform == "event":
        assert one["evt_typ"]
    assert "value_json." not in one.get("val_tpl", ""), "an empty payload has no value_json"


@pytest.mark.parametrize("name", ["cluster", "node", "vm"])
def test_each_event_type_has_a_trigger(name: str) -> None:
    config = build(THINGS[name], around())
    assert config
    told = {key: json.loads(one) for key, one in config.triggers.items()}
    events = json.loads(config.payload)["cmps"]["event"]
    assert [one["pl"] for one in told.values()] == events["evt_typ"]
    assert set(told) == set(KEYS[THINGS[name].key.kind])
    for one in told.values():
        assert set(one) == TRIGGER
        assert one["t"] == events["stat_t"]
    off = build(THINGS[name], around("!*/event"))
    assert off
    assert not off.triggers


def test_ids_of_entities_are_never_shared() -> None:
    found = [c["uniq_id"] for name in THINGS for c in payload(name)["cmps"].values() if "uniq_id" in c]
    assert len(found) == len(set(found))


def test_few_are_on_at_first() -> None:
    on = {key for key, one in payload("vm")["cmps"].items() if one.get("en", True)}
    assert on == {"running", "cpu", "memory", "last_backup", "backup_problem", "power", "event"}


def test_without_commands_nothing_can_be_pressed() -> None:
    for name in THINGS:
        assert not [c for c in payload(name, mqtt_allow="read")["cmps"].values() if c["p"] in {"switch", "button"}]


def test_operate_has_no_dangerous_buttons() -> None:
    found = payload("vm", mqtt_allow="operate")["cmps"]
    assert {"power", "reboot", "snapshot", "backup"} <= set(found)
    assert not {"stop", "reset"} & set(found)
    assert "reboot" not in payload("node", mqtt_allow="operate")["cmps"]


def test_a_protected_guest_has_no_switch() -> None:
    config = build(guest(tags=("Prod",)), around(protected_tags=frozenset({"prod"})))
    assert config
    assert "power" not in json.loads(config.payload)["cmps"]
    assert "snapshot" in json.loads(config.payload)["cmps"]


def test_a_guest_outside_the_list_has_no_switch() -> None:
    assert "power" not in payload("vm", vmid_allowlist=frozenset({7}))["cmps"]


def test_what_the_token_cannot_read_is_not_created() -> None:
    config = build(THINGS["node"], around(granted=AUDITOR))
    assert config
    assert "updates" not in json.loads(config.payload)["cmps"]
    assert "node/updates: Sys.Modify on /nodes" in config.left_out
    kept = build(THINGS["node"], around(granted=AUDITOR), known=frozenset({"updates"}))
    assert kept
    assert "updates" in json.loads(kept.payload)["cmps"], "it had it, and a right may come back"


def test_a_token_that_sees_guests_alone_has_no_figures_of_nodes() -> None:
    """Proxmox lists each node to everybody, but leaves out its figures."""
    config = build(THINGS["node"], around(granted={"/vms": {"VM.Audit": 1}}))
    assert config
    found = set(json.loads(config.payload)["cmps"])
    assert {"online", "guests_running"} <= found
    assert not {"cpu", "memory", "disk", "started"} & found
    assert "node/cpu: Sys.Audit on /nodes or Sys.Audit on /system" in config.left_out


def test_a_right_is_looked_for_at_the_thing_itself() -> None:
    """A token that may ask one guest's agent knows no address of another."""
    audit = {"VM.Audit": 1, "Sys.Audit": 1}
    granted = {"/": audit, "/vms/100": {**audit, "VM.GuestAgent.Audit": 1}, "/nodes/pve1": {**audit, "Sys.Modify": 1}}
    for thing, key, there in (
        (guest(100), "ip", True),
        (guest(101), "ip", False),
        (node("pve1"), "updates", True),
        (node("pve2"), "updates", False),
        (node("pve2"), "cpu", True),
    ):
        config = build(thing, around(granted=granted))
        assert config
        assert (key in json.loads(config.payload)["cmps"]) == there, (thing.key, key)
    config = build(guest(101), around(granted=granted))
    assert config
    assert "guest/ip: VM.GuestAgent.Audit on /vms" in config.left_out


def test_a_button_that_the_token_cannot_carry_out() -> None:
    config = build(THINGS["vm"], around(granted={"/vms": {"VM.Audit": 1}}))
    assert config
    assert "power" not in json.loads(config.payload)["cmps"]
    assert "guest/power: VM.PowerMgmt on /vms" in config.left_out


def test_a_template_is_no_device() -> None:
    assert build(guest(template=True), around()) is None


def test_twins_have_their_vmid() -> None:
    config = build(guest(twin=True), around())
    assert config
    whole = json.loads(config.payload)
    assert whole["dev"]["name"] == "web01 (100)"
    assert whole["cmps"]["cpu"]["def_ent_id"] == "sensor.lab_web01_100_cpu"


def test_parents() -> None:
    parents = {name: payload(name)["dev"].get("via_device") for name in THINGS}
    assert parents["vm"] == parents["storage"] == payload("node")["dev"]["ids"][0]
    assert parents["node"] == parents["shared-storage"] == payload("cluster")["dev"]["ids"][0]
    assert parents["datastore"] == parents["pbs-host"] == payload("pbs")["dev"]["ids"][0]
    assert parents["cluster"] is None


def test_a_parent_that_is_no_device_is_not_named() -> None:
    """Home Assistant would make a device without a name for it."""
    for entities in (("!node/*",), ("!node/pve*/*",), ("!*/*", "guest/cpu", "storage/used", "cluster/api")):
        assert payload("vm", *entities)["dev"]["via_device"] == "proxmox_lab_cluster"
        assert payload("storage", *entities)["dev"]["via_device"] == "proxmox_lab_cluster"
    assert "via_device" not in payload("vm", "!node/*", "!cluster/*")["dev"]
    assert "via_device" not in payload("node", "!cluster/*")["dev"]
    assert payload("vm", "!node/*", "node/online")["dev"]["via_device"] == "proxmox_lab_node_pve1"
    assert payload("vm", "!node/pve2/*")["dev"]["via_device"] == "proxmox_lab_node_pve1"


@pytest.mark.parametrize("name", ["storage", "shared-storage", "datastore"])
def test_what_is_being_removed_has_no_problem(name: str) -> None:
    """Before its topic is cleared it is said to be unavailable, which else means a problem."""
    whole = payload(name)
    own = [one for one in whole["cmps"]["problem"]["avty"] if one["t"] == whole["stat_t"]]
    assert own
    assert "v.used is not none" in own[0]["val_tpl"], "a storage that is away has no figures"


def test_entities_are_chosen() -> None:
    found = payload("vm", "guest/ip", "!guest/memory", "!guest/web*/cpu", "guest/100/node")["cmps"]
    assert "en" not in found["ip"]
    assert "en" not in found["node"]
    assert not {"memory", "cpu"} & set(found)
    everything = payload("vm", "*/*")["cmps"]
    assert "en" not in everything["reboot"]
    assert everything["stop"]["en"] is False, "what is dangerous is on only where it is named"
    assert "en" not in payload("vm", "guest/stop")["cmps"]["stop"]
    assert build(THINGS["storage"], around("!storage/*")) is None


def test_a_typing_error_is_told() -> None:
    assert around("guest/cpus", "guest/cpu", "!vm/*").chosen.idle() == [
        "HA_ENTITIES: there is no entity guest/cpus (docs/homeassistant.md lists them).",
        "HA_ENTITIES: there is no entity vm/* (docs/homeassistant.md lists them).",
    ]


def test_rows_have_keys_of_their_own() -> None:
    for rows in ROWS.values():
        named = [(row.key, variant) for row in rows for variant in row.variants or {""}]
        assert len(set(named)) == len(named)
        assert not {key for key, variant in named if not variant} & {key for key, variant in named if variant}


def test_a_maintenance_evacuates_where_that_is_allowed() -> None:
    on = {"maintenance_evacuate": True}
    config = payload("node", **on)["cmps"]
    assert '"evacuate":true' in config["maintenance"]["cmd_tpl"]
    assert config["evacuation"]["ops"] == ["idle", "running", "done", "incomplete"]
    assert '"evacuate":true' not in payload("cluster", **on)["cmps"]["maintenance"]["cmd_tpl"]
    for name, more in (("node", {}), ("node", {**on, "mqtt_allow": "operate"}), ("pbs-host", on)):
        config = payload(name, **more)["cmps"]
        assert "evacuation" not in config
        assert '"evacuate":true' not in config["maintenance"]["cmd_tpl"]
    assert "evacuate" not in str(payload("node", **on, node_allowlist=frozenset({"pve9"})))


def test_a_site_is_shut_down_where_that_is_allowed() -> None:
    mine = {"shutdown", "shut_down", "shutdown_abort"}
    found = payload("cluster", site_shutdown=True, mqtt_allow="destroy")["cmps"]
    assert found["shutdown"]["ops"] == ["idle", "running", "aborted", "done", "failed"]
    assert found["shutdown"]["stat_t"] == "proxmox/lab/shutdown"
    assert [found[key]["pl_prs"] for key in ("shut_down", "shutdown_abort")] == ["shutdown", "shutdown_abort"]
    assert (found["shut_down"]["en"], found["shut_down"]["ent_cat"]) == (False, "config")
    assert found["shut_down"]["cmd_t"] == "proxmox/lab/command"
    assert payload("cluster", "*/*", site_shutdown=True, mqtt_allow="destroy")["cmps"]["shut_down"]["en"] is False
    for more in ({"mqtt_allow": "destroy"}, {"site_shutdown": True, "mqtt_allow": "change"}):
        assert not mine & set(payload("cluster", **more)["cmps"])
    assert not mine & set(payload("pbs", site_shutdown=True, mqtt_allow="destroy")["cmps"])
