"""The maintenance switch of a node moves its guests away where MAINTENANCE_EVACUATE allows it."""

from tests.e2e.homeassistant.conftest import DEVICES, House

SWITCH = "proxmox_lab_node_pve3_maintenance"
SENSOR = "proxmox_lab_node_pve3_evacuation"


async def test_the_switch_moves_the_guests(house: House) -> None:
    """In the lab, the guests of pve3 have their disks where every node reaches them; one gets a local one."""
    hass, lab = house.hass, house.lab
    await house.restart(MAINTENANCE_EVACUATE="true")
    await hass.settled(DEVICES)
    here = {g.vmid for g in lab.world.guests.values() if g.node == "pve3" and g.running}
    stays = next(vmid for vmid in sorted(here) if lab.guest(vmid).kind == "lxc")
    lab.guest(stays).config["rootfs"] = f"local-lvm:vm-{stays}-disk-0,size=8G"
    await hass.becomes(SENSOR, "idle")
    await hass.turn(SWITCH, "on")
    await hass.becomes(SWITCH, "on")
    await hass.becomes(SENSOR, "incomplete", seconds=120)
    told = (await hass.states())[(await hass.ids())[SENSOR]]["attributes"]
    assert set(told["moved"]) == here - {stays}
    (left,) = told["left"]
    assert left["vmid"] == stays
    assert "local-lvm" in left["why"]
    assert {lab.guest(vmid).node == "pve3" for vmid in here - {stays}} == {False}
    await hass.until(lambda: _on_another(house, min(here - {stays})), "its device is at the old node")
    await hass.turn(SWITCH, "off")
    await hass.becomes(SENSOR, "idle")
    await house.restart(MAINTENANCE_EVACUATE="false")
    await hass.becomes(SENSOR, "absent", seconds=90)
    await hass.settled(DEVICES)
    await hass.turn(SWITCH, "on")
    await hass.becomes(SWITCH, "on")
    await hass.turn(SWITCH, "off")
    await hass.becomes(SWITCH, "off")
    assert lab.guest(stays).node == "pve3"
    await hass.quiet()


async def _on_another(house: House, vmid: int) -> bool:
    devices = await house.hass.devices()
    node = house.lab.guest(vmid).node
    return bool(devices[f"proxmox_lab_guest_{vmid}"]["via_device_id"] == devices[f"proxmox_lab_node_{node}"]["id"])
