"""A whole site is shut down from Home Assistant: pressed, watched, aborted, pressed again, seen to its end."""

from typing import Any

from tests.e2e.homeassistant.conftest import DEVICES, House

SENSOR, BEGIN, ABORT = (f"proxmox_lab_cluster_{key}" for key in ("shutdown", "shut_down", "shutdown_abort"))
LONG = 120.0  # seconds


async def test_a_site_is_shut_down_watched_and_aborted(house: House) -> None:
    hass, lab = house.hass, house.lab
    await hass.settled(DEVICES)
    assert not {SENSOR, BEGIN, ABORT} & set(await hass.ids()), "not without SITE_SHUTDOWN"
    await house.restart(SITE_SHUTDOWN="true", HA_ENTITIES="cluster/shut_down")
    await hass.becomes(SENSOR, "idle", seconds=LONG)
    await hass.settled(DEVICES)
    up = [g.vmid for g in lab.world.sorted_guests() if g.running and not g.template]
    lab.fault("guest-deaf", up[0])
    await hass.press(BEGIN)
    await hass.becomes(SENSOR, "running", seconds=LONG)
    await hass.until(lambda: _left(house, up[:1]), "one is up yet", LONG)
    told = await _told(house)
    assert (told["stage"], told["guests_total"], told["nodes_left"]) == ("others", len(up), ["pve1", "pve2", "pve3"])
    assert f"VM {up[0]}" in told["message"]
    await hass.press(ABORT)
    await hass.becomes(SENSOR, "aborted", seconds=LONG)
    assert all(node.online for node in lab.world.nodes.values())
    lab.fault("guest-deaf", up[0])
    await hass.press(BEGIN)
    await hass.becomes(SENSOR, "done", seconds=LONG)
    assert not [g.vmid for g in lab.world.sorted_guests() if g.running]
    assert not [node.name for node in lab.world.nodes.values() if node.online]
    assert (await hass.away(SENSOR, ABORT), (await _told(house))["nodes_left"]) == (set(), [])
    for name in lab.world.nodes:
        lab.fault("node-up", name)
    await hass.settled(DEVICES, LONG)
    assert await hass.state(SENSOR) == "done", "until the next one"


async def _told(house: House) -> dict[str, Any]:
    found: dict[str, Any] = (await house.hass.states())[(await house.hass.ids())[SENSOR]]["attributes"]
    return found


async def _left(house: House, vmids: list[int]) -> bool:
    return bool((await _told(house)).get("guests_left") == vmids)
