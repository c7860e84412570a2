"""A snapshot before an update: nothing is installed without one."""

from tests.e2e.homeassistant.another import device
from tests.e2e.homeassistant.blueprints import Phone, ready, script
from tests.e2e.homeassistant.conftest import House

UPDATE = "update.nextcloud_version"
REMEMBERED = "input_text.harness_text"


async def version(house: House, installed: str, latest: str) -> None:
    """What the thing that is updated says of itself."""
    said = {"installed_version": installed, "latest_version": latest, "in_progress": False, "update_percentage": None}
    await house.hass.call(house.hass.ha.publish, "nextcloud/version", said, retain=True)
    wanted = "off" if installed == latest else "on"
    await house.hass.call(house.hass.ha.wait_state, UPDATE, wanted)


async def test_a_snapshot_before_an_update(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(house)
    guest = (await hass.devices())["proxmox_lab_guest_100"]["id"]
    thing = {"p": "update", "cmd_t": "nextcloud/install", "pl_inst": "do it", "title": "Nextcloud"}
    installs = await hass.call(hass.ha.watch, "nextcloud/install")

    def snapshots() -> list[str]:
        return [one.name for one in lab.guest(100).snapshots if one.name.startswith("ha-")]

    async def press() -> None:
        await hass.call(hass.ha.wait_state, robot.entity, "off", 40)
        phone.forget()
        await hass.call(hass.ha.call_service, "script", "turn_on", {"entity_id": robot.entity})

    async def installed(number: int) -> None:
        async def done() -> bool:
            return len(installs) == number

        await hass.until(done, f"not asked to install {number} times: {phone.pushes}")

    async def removed() -> bool:
        return len(snapshots()) == 1

    wanted = {"update": UPDATE, "guest": guest, "memory": REMEMBERED, "phones": [phone.device_id]}
    await hass.call(hass.ha.call_service, "input_text", "set_value", {"entity_id": REMEMBERED, "value": ""})
    async with device(house, "nextcloud", version=thing), script(hass, "snapshot_before_update", **wanted) as robot:
        await version(house, "31.0.1", "31.0.2")
        lab.fault("task-fail", "qmsnapshot", "no space left")
        await press()
        failed = await phone.push("Nextcloud: not updated", "no space left")
        assert "There is no snapshot" in failed["message"]
        assert not snapshots()

        await press()
        push = await phone.push("Nextcloud 31.0.2: being installed", "Rollback")
        (first,) = snapshots()
        assert first in push["message"]
        await installed(1)  # and none after the failure
        assert lab.requests.count("POST", "*/qemu/100/snapshot") == 2
        await version(house, "31.0.2", "31.0.2")
        await phone.push("Nextcloud 31.0.2: installed", first)

        await version(house, "31.0.2", "31.0.3")
        await press()  # the removal of the first needs an approval
        push = await phone.push("Nextcloud 31.0.3: being installed", f"Not removed: {first}")
        await installed(2)
        assert len(snapshots()) == 2
        await version(house, "31.0.3", "31.0.3")
        await phone.push("Nextcloud 31.0.3: installed")

        await hass.call(hass.ha.wait_state, robot.entity, "off", 40)
        await house.restart(APPROVAL_REQUIRED="exec")
        await ready(house)
        await version(house, "31.0.3", "31.0.4")
        await press()
        await phone.push("Nextcloud 31.0.4: being installed")
        await hass.until(removed, f"snapshots are left: {snapshots()}")
        await installed(3)
        await version(house, "31.0.4", "31.0.4")
        assert "Not removed" not in (await phone.push("Nextcloud 31.0.4: installed"))["message"]
        assert not lab.requests.count("POST", "*/rollback")
