"""What Home Assistant has in its registries after it was told of a lab, and that it has nothing to complain of."""

import json
import os
from pathlib import Path
from typing import Any

from tests.e2e.homeassistant.conftest import DEVICES, House, empty
from tests.e2e.homeassistant.hass import Hass

SHOWN = (
    "proxmox_lab_cluster", "proxmox_lab_node_pve1", "proxmox_lab_guest_100", "proxmox_lab_guest_102",
    "proxmox_lab_storage_pve1_local-lvm", "proxmox_lab_storage_nas",
    "proxmox_lab_disk_pve1_4NMK5W86EVDBC5", "proxmox_lab_zpool_pve1_tank",
    "proxmox_pbs1_cluster", "proxmox_pbs1_node_pbs1", "proxmox_pbs1_datastore_main",
)  # fmt: skip
SNAPSHOT = Path(__file__).parent / "registry.json"


async def test_registries_match_the_snapshot(house: House) -> None:
    await house.hass.settled(DEVICES)
    found = await registries(house.hass)
    if os.environ.get("SNAPSHOT_UPDATE"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert found == json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    await house.hass.quiet()


async def test_a_purge_is_quiet(house: House, tmp_path: Path) -> None:
    await house.hass.settled(DEVICES)
    await house.bridge.stop()
    await empty(house.hass, house.bridge.env, tmp_path)
    await house.hass.quiet()


async def test_the_ui_offers_triggers(house: House) -> None:
    await house.hass.settled(DEVICES)
    offered = await house.hass.call(house.hass.ha.device_automations, "proxmox_lab_guest_100")
    mine = {one["type"] for one in offered if one["domain"] == "mqtt"}
    assert {"stopped unexpectedly", "migrated", "backup failed"} <= mine


async def test_entities_are_chosen_and_commands_may_be_off(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    before = await hass.ids()
    assert "proxmox_lab_guest_100_power" in before
    await house.restart(MQTT_ALLOW="read", HA_ENTITIES="guest/node,!storage/*,!guest/101/*")
    await hass.until(lambda: _gone(hass, "_power"), "switches are left")
    await hass.until(lambda: _gone(hass, "_storage_"), "storages are left")
    await hass.until(lambda: _gone(hass, "_guest_101_"), "guest 101 is left")
    await hass.settled(DEVICES - 10)
    after = await hass.ids()
    assert after["proxmox_lab_guest_100_cpu"] == before["proxmox_lab_guest_100_cpu"]
    assert not any(key.endswith(("_power", "_maintenance")) for key in after)
    await hass.quiet()


async def _gone(hass: Hass, part: str) -> bool:
    """Nothing that is on: Home Assistant keeps what is disabled until its device is removed."""
    return not any(part in key for key in await hass.ids())


async def registries(hass: Hass) -> dict[str, Any]:
    """Devices with their entities, without what differs from run to run."""
    devices = await hass.call(hass.ha.devices)
    entities = await hass.call(hass.ha.entities)
    states = await hass.states()
    named = {d["id"]: d["identifiers"][0][1] for d in devices}
    found: dict[str, Any] = {}
    for device in (one for one in devices if named[one["id"]] in SHOWN):
        mine = sorted((e for e in entities if e["device_id"] == device["id"]), key=lambda e: str(e["unique_id"]))
        found[named[device["id"]]] = {
            "name": device["name"],
            "model": device["model"],
            "via": named.get(device["via_device_id"]),
            "entities": {e["unique_id"]: _entity(e, states.get(e["entity_id"], {})) for e in mine},
        }
    return found


def _entity(entity: dict[str, Any], state: dict[str, Any]) -> list[Any]:
    told = state.get("attributes", {})
    off = "disabled" if entity["disabled_by"] else "enabled"
    shown = [entity["original_name"], entity["entity_id"].split(".")[0], off, entity["entity_category"]]
    names = ("device_class", "unit_of_measurement", "state_class", "icon", "event_types", "options")
    return [*shown, {name: told[name] for name in names if name in told}]
