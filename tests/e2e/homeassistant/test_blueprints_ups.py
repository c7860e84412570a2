"""A UPS on battery: what is told, when the site is shut down, and that it stops when the power is back."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.homeassistant.another import device
from tests.e2e.homeassistant.blueprints import Phone, Robot, automation, plays, ready, well
from tests.e2e.homeassistant.conftest import House

ONLINE, BATTERY = "Online", "On Battery Battery Discharging"  # as Home Assistant shows what NUT says
UPS = {
    "status": {"p": "sensor"},
    "charge": {"p": "sensor", "dev_cla": "battery", "unit_of_meas": "%"},
    "runtime": {"p": "sensor", "dev_cla": "duration", "unit_of_meas": "s"},
}


@dataclass
class Outages:
    """A house with a UPS, whose bridge may shut the site down."""

    house: House
    phone: Phone

    async def says(self, **what: str) -> None:
        """The UPS."""
        hass = self.house.hass
        for key, said in what.items():
            await hass.call(hass.ha.publish, f"ups/{key}", said, retain=True)
            if key != "here":
                await hass.call(hass.ha.wait_state, f"sensor.ups_{key}", said)

    async def shutdown(self) -> dict[str, Any]:
        """What is published of the site's shutdown."""
        kept = await self.house.hass.call(self.house.hass.ha.retained, "proxmox/lab/shutdown")
        found: dict[str, Any] = json.loads(kept["proxmox/lab/shutdown"])
        return found

    async def becomes(self, *states: str) -> None:
        """Wait for one of these."""

        async def is_one() -> bool:
            return (await self.shutdown())["state"] in states

        await self.house.hass.until(is_one, f"the shutdown is none of {states}", 60)

    def asked_down(self) -> int:
        """How many guests and nodes were asked to shut down."""
        count = self.house.lab.requests.count
        return count("POST", "*/status/shutdown") + count("POST", "*/nodes/*/status")

    async def over(self, robot: Robot) -> None:
        """Wait until the automation's run has ended."""
        hass = self.house.hass

        async def ended() -> bool:
            traces = await hass.call(hass.ha.traces, robot.id)
            return not [one for one in traces if one["state"] == "running"]

        await hass.until(ended, "its run does not end", 60)


@pytest.fixture
async def outages(house: House, phone: Phone) -> AsyncIterator[Outages]:
    await house.restart(SITE_SHUTDOWN="true", PROXMOX_SELF_GUESTS="102")
    await ready(house)
    async with device(house, "ups", **UPS):
        found = Outages(house, phone)
        await found.says(status=ONLINE, charge="100", runtime="3000")
        yield found
        await found.says(here="online", status=ONLINE)


@asynccontextmanager
async def guarded(outages: Outages, **more: Any) -> AsyncIterator[Robot]:
    """The automation on this UPS and this site."""
    hass = outages.house.hass
    wanted = {
        "ups": "sensor.ups_status", "charge": "sensor.ups_charge", "runtime": "sensor.ups_runtime",
        "shutdown": (await hass.ids())["proxmox_lab_cluster_shutdown"], "stages": ["web", "db"], "stage_timeout": 60,
        "grace": 30, "stable": 2, "phones": [outages.phone.device_id],
    }  # fmt: skip
    async with automation(hass, "ups_shutdown", **{**wanted, **more}) as robot:
        yield robot
    await well(hass)


async def test_a_ups_that_flaps_and_short_outages(outages: Outages) -> None:
    house, phone = outages.house, outages.phone
    async with guarded(outages) as robot:
        await outages.says(here="offline")
        await outages.says(here="online", status=ONLINE)
        await plays(house)
        assert not phone.pushes

        await outages.says(status=BATTERY)
        push = await phone.push("UPS on battery", "It would shut down")
        assert "With their nodes, last: " in push["message"]
        assert house.lab.guest(102).name in push["message"]
        await outages.says(here="offline")  # the UPS's own server is lost: not back
        await outages.says(here="online", status=ONLINE)
        await phone.push("the power is back", "Nothing was shut down")
        await outages.over(robot)

        phone.forget()
        await outages.says(status=BATTERY)
        await phone.press(await phone.push("UPS on battery"), "Do not shut down")
        await phone.push("nothing is shut down")
        await outages.says(charge="5")
        await outages.says(status=ONLINE, charge="100")
        await outages.over(robot)
        assert (await outages.shutdown())["state"] == "idle"
        assert not outages.asked_down()


async def test_the_power_returns_in_the_middle_of_a_shutdown(outages: Outages) -> None:
    house, phone = outages.house, outages.phone
    web = {v for v, one in house.lab.world.guests.items() if "web" in one.tags.split(";")}
    first = next(v for v in web if house.lab.guest(v).running)
    house.lab.fault("guest-deaf", str(first))
    async with guarded(outages) as robot:
        await outages.says(status=BATTERY)
        await phone.push("UPS on battery")
        await outages.says(runtime="240")
        await phone.push("shutdown started")
        await outages.becomes("running")
        await outages.says(status=ONLINE, runtime="3000")
        await phone.push("the power is back, the shutdown is stopped", "Aborted")
        await outages.becomes("aborted")
        await outages.over(robot)

        phone.forget()
        await outages.says(status=BATTERY)
        await phone.press(await phone.push("UPS on battery"), "Shut down now")
        await phone.press(await phone.push("shutdown started"), "Stop the shutdown")
        await phone.push("asked for on a phone, the shutdown is stopped")
        await outages.becomes("aborted")
        await outages.says(status=ONLINE)
        await outages.over(robot)
    assert not house.lab.requests.count("POST", "*/nodes/*/status")
    assert any(one.running for v, one in house.lab.world.guests.items() if v not in web)


async def test_the_power_does_not_return(outages: Outages) -> None:
    house, phone, hass = outages.house, outages.phone, outages.house.hass
    async with guarded(outages, nodes=False, grace=0.1) as robot:
        await outages.says(status=BATTERY)
        await phone.push("shutdown started")
        await hass.call(hass.ha.restart)  # in the middle of it
        await phone.push("all is down")
        assert (await outages.shutdown())["state"] == "done"
        assert [v for v, one in house.lab.world.guests.items() if one.running] == [102]
        await outages.says(status=ONLINE)
        await outages.over(robot)

        await house.restart(MQTT_ALLOW="operate")
        await ready(house)
        phone.forget()
        await outages.says(status=BATTERY)
        await phone.push("nothing can be shut down", "MQTT_ALLOW")
        await outages.says(status=ONLINE)
