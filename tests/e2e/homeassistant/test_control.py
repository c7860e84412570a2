"""Switches and buttons, and what they bring about in the lab."""

from tests.e2e.homeassistant.conftest import DEVICES, House
from tests.e2e.homeassistant.hass import Hass

RELOAD = 90  # seconds: Home Assistant waits for 30 until it does what switching on an entity needs
POWER = "proxmox_lab_guest_100_power"


async def test_the_power_switch(house: House) -> None:
    hass, lab = house.hass, house.lab
    await hass.settled(DEVICES)
    await hass.becomes(POWER, "on")
    await hass.turn(POWER, "off")
    await hass.becomes(POWER, "off")
    assert not lab.guest(100).running
    await hass.until(lambda: event(hass, "proxmox_lab_guest_100_event", "stopped"), "no event")
    lab.fault("task-fail", "qmstart", "no memory")
    await hass.turn(POWER, "on")
    await hass.until(lambda: event(hass, "proxmox_lab_node_pve1_event", "task_failed"), "no failed task")
    assert await hass.state(POWER) == "off"
    await hass.becomes("proxmox_lab_node_pve1_failed_tasks", "1", "2", "3")
    await hass.turn(POWER, "on")
    await hass.becomes(POWER, "on")
    await hass.quiet()


async def test_buttons_that_are_off_at_first(house: House) -> None:
    hass, lab = house.hass, house.lab
    await hass.settled(DEVICES)
    everything = {e["unique_id"]: e for e in await hass.call(hass.ha.entities)}
    for key in ("snapshot", "backup", "stop"):
        entity = everything[f"proxmox_lab_guest_100_{key}"]
        assert entity["disabled_by"] == "integration"
        await switched(hass, entity["entity_id"], on=True)
    await hass.until(lambda: _has(hass, "proxmox_lab_guest_100_stop"), "not switched on", RELOAD)
    await hass.settled(DEVICES, seconds=90)
    await hass.press("proxmox_lab_guest_100_snapshot")
    await hass.until(lambda: event(hass, "proxmox_lab_guest_100_event", "snapshot"), "no snapshot")
    assert lab.requests.count("POST", "*/qemu/100/snapshot") == 1
    await hass.press("proxmox_lab_guest_100_backup")
    await hass.until(lambda: event(hass, "proxmox_lab_guest_100_event", "backup_ok"), "no backup")
    await hass.press("proxmox_lab_guest_100_stop")
    await hass.becomes(POWER, "off")
    for key in ("snapshot", "backup", "stop"):
        await switched(hass, everything[f"proxmox_lab_guest_100_{key}"]["entity_id"], on=False)
    await hass.quiet()


async def test_maintenance_of_a_node_and_of_the_site(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    for key in ("proxmox_lab_node_pve1_maintenance", "proxmox_lab_cluster_maintenance"):
        await hass.becomes(key, "off")
        await hass.turn(key, "on")
        await hass.becomes(key, "on")
        await hass.turn(key, "off")
        await hass.becomes(key, "off")
    assert await hass.state("proxmox_lab_node_pve2_maintenance") == "off"
    await hass.quiet()


async def test_an_approval_that_waits(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    everything = {e["unique_id"]: e for e in await hass.call(hass.ha.entities)}
    entity = everything["proxmox_lab_node_pve3_reboot"]["entity_id"]
    await switched(hass, entity, on=True)
    await hass.until(lambda: _has(hass, "proxmox_lab_node_pve3_reboot"), "not switched on", RELOAD)
    await hass.settled(DEVICES, seconds=90)
    await hass.press("proxmox_lab_node_pve3_reboot")
    await hass.becomes("proxmox_lab_cluster_approvals", "1")
    await hass.until(lambda: event(hass, "proxmox_lab_cluster_event", "approval_requested"), "no event")
    assert house.lab.requests.count("POST", "*/nodes/pve3/status") == 0
    await switched(hass, entity, on=False)
    await hass.quiet()


async def switched(hass: Hass, entity_id: str, *, on: bool) -> None:
    """Off again in the end: newer versions of Home Assistant remember that of an entity which was removed."""
    off = None if on else "user"
    await hass.call(hass.ha.ws, "config/entity_registry/update", entity_id=entity_id, disabled_by=off)


async def event(hass: Hass, unique_id: str, kind: str) -> bool:
    """Whether this is the last event there."""
    entity = (await hass.ids())[unique_id]
    return bool((await hass.states())[entity]["attributes"].get("event_type") == kind)


async def _has(hass: Hass, unique_id: str) -> bool:
    return (await hass.states()).get((await hass.ids()).get(unique_id, ""), {}).get("state") is not None
