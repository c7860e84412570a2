"""Physical disks and ZFS pools: devices of their node, their values, and their end."""

from typing import Any

from proxmox_mcp.lab.state import Disk
from tests.e2e.homeassistant.conftest import DEVICES, House
from tests.e2e.homeassistant.hass import AWAY

TANK = "proxmox_lab_zpool_pve1_tank"


def _disk(house: House, node: str, dev: str) -> tuple[Disk, str]:
    found = next(one for one in house.lab.world.nodes[node].disks if one.devpath == f"/dev/{dev}")
    return found, f"proxmox_lab_disk_{node}_{found.serial}"


async def test_disks_and_pools(house: House) -> None:
    hass, lab = house.hass, house.lab
    await house.restart(POLL_SLOW_INTERVAL="10")
    await hass.settled(DEVICES)
    one, nvme = _disk(house, "pve1", "nvme0n1")
    _, ssd = _disk(house, "pve1", "sdb")
    _, spinning = _disk(house, "pve1", "sda")
    away, elsewhere = _disk(house, "pve2", "nvme0n1")
    devices = await hass.devices()
    node = devices["proxmox_lab_node_pve1"]["id"]
    assert spinning not in devices, "it may sleep"
    assert all(devices[each]["via_device_id"] == node for each in (nvme, ssd, TANK))
    shown = devices[nvme]
    assert (shown["name"], shown["model"], shown["serial_number"]) == ("Disk nvme0n1 (pve1)", one.model, one.serial)
    assert devices[TANK]["name"] == "ZFS pool tank (pve1)"
    assert await hass.state(f"{nvme}_smart") == "off"
    assert float(await hass.state(f"{nvme}_temperature")) == one.temperature
    assert float(await hass.state(f"{nvme}_wear")) == 100 - one.wearout
    assert await hass.state(f"{TANK}_problem") == "off"
    await _attributes(house, f"{nvme}_smart", {"device": "nvme0n1", "node": "pve1", "used_by": one.used})

    lab.fault("disk-fail", "pve1", "/dev/nvme0n1")
    lab.fault("disk-hot", "pve1", "/dev/sdb")
    lab.fault("pool-degrade", "pve1")
    await hass.becomes(f"{nvme}_smart", "on", seconds=60)
    await hass.becomes(f"{ssd}_temperature", "84", "84.0", seconds=60)
    await hass.becomes(f"{TANK}_problem", "on", seconds=60)
    await _attributes(house, f"{TANK}_problem", {"health": "DEGRADED", "node": "pve1", "errors": None})
    lab.fault("pool-repair", "pve1")
    await hass.becomes(f"{TANK}_problem", "off", seconds=60)

    lab.fault("node-down", "pve2")
    await hass.becomes(f"{elsewhere}_smart", AWAY)
    await hass.becomes("proxmox_lab_zpool_pve2_tank_problem", AWAY)
    lab.fault("node-up", "pve2")
    await hass.becomes(f"{elsewhere}_smart", "off", seconds=60)
    assert away.asked

    lab.fault("disk-pull", "pve1", "/dev/nvme0n1")
    await hass.becomes(f"{nvme}_smart", AWAY, "absent", seconds=60)
    await hass.settled(DEVICES - 1, seconds=90)
    assert nvme not in await hass.devices()
    left = await hass.call(hass.ha.retained, "#", 2)
    assert not [topic for topic in left if one.serial in topic]
    assert not lab.world.nodes["pve1"].disks[0].asked, "the one that may sleep was woken"
    await hass.quiet()


async def _attributes(house: House, unique_id: str, wanted: dict[str, Any]) -> None:
    async def there() -> bool:
        entity = (await house.hass.ids())[unique_id]
        told = (await house.hass.states())[entity]["attributes"]
        return all(told.get(name, "nothing") == value for name, value in wanted.items())

    await house.hass.until(there, f"{unique_id} has not {wanted}")
