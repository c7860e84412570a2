"""Blueprints with a person at the other end: approving from the phone, a UPS, a snapshot before an update."""

import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from mqtt_bridge.approvals.proofs import key_of
from tests.approvals.making import SECRETS
from tests.e2e.homeassistant.blueprints import Phone, automation, well
from tests.e2e.homeassistant.conftest import House
from tests.support.services import NTFY_TOKEN, NtfyServer

SHOWN = "Approve? "
CODES = "alices-own"
FORGER = "somebody_else"


@dataclass
class People:
    """A house whose bridge has approvers, and what its phone is told."""

    house: House
    phone: Phone
    ntfy: NtfyServer
    person: str
    commands: list[str] = field(default_factory=list)

    async def order(self, place: str, command: str, **more: Any) -> str:
        """As a button of Home Assistant sends it; gives the command's id."""
        given = f"e2e-{secrets.token_hex(6)}"
        body = {"command": command, "id": given, "ts": time.time(), "who": "Home Assistant", **more}
        await self.house.hass.call(self.house.hass.ha.publish, f"proxmox/lab/{place}command", body)
        return given

    async def waiting(self) -> dict[str, dict[str, Any]]:
        """What is published as waiting, by id."""
        kept = await self.house.hass.call(self.house.hass.ha.retained, "proxmox/lab/approval/+")
        return {topic.rpartition("/")[2]: json.loads(text) for topic, text in kept.items()}

    async def code(self, given: str) -> str:
        """The one-time code that alice was sent for it."""

        def sent() -> list[str]:
            told = [one.json for one in self.ntfy.asked if one.method in {"POST", "PUT"}]
            return [one["message"] for one in told if one["topic"] == CODES and given in one["message"]]

        async def come() -> bool:
            return bool(sent())

        await self.house.hass.until(come, "alice got no code")
        return sent()[-1].splitlines()[0].rpartition(": ")[2]

    async def asked(self, vmid: int) -> tuple[str, dict[str, Any]]:
        """Delete a guest; gives the approval's id and the notification."""
        self.phone.forget()
        await self.order(f"guest/{vmid}/", "delete")
        push = await self.phone.push(SHOWN, f" {vmid} ")
        return str(push["data"]["tag"]).removeprefix("proxmox-approval-"), push

    async def cleared(self, given: str) -> None:
        """Wait until the notification is taken away."""

        async def gone() -> bool:
            told = self.phone.told("clear_notification")
            return any(one["data"]["tag"] == f"proxmox-approval-{given}" for one in told)

        await self.house.hass.until(gone, f"the notification stays: {self.phone.pushes}")


async def ready(house: House) -> None:
    """Every guest of the lab is a device, and everything is available."""
    vmids = [vmid for vmid, one in house.lab.world.guests.items() if not one.template]

    async def done() -> bool:
        ids = await house.hass.ids()
        there = all(f"proxmox_lab_guest_{vmid}_running" in ids for vmid in vmids)
        return there and not await house.hass.away("")

    await house.hass.until(done, "not everything is there and available", 90)


@pytest.fixture
async def people(house: House, phone: Phone) -> AsyncIterator[People]:
    hass = house.hass
    await ready(house)
    (person,) = [name for name in await hass.states() if name.startswith("person.")]
    ntfy = NtfyServer(topics=(CODES,))
    async with ntfy.running():
        approvers = f"alice:sha256:{key_of(SECRETS['alice'])};ntfy={CODES},bob:sha256:{key_of(SECRETS['bob'])}"
        await house.restart(
            APPROVERS=approvers, APPROVAL_MQTT="proof", NTFY_SERVER_URL=ntfy.url, NTFY_TOKEN=NTFY_TOKEN
        )
        await ready(house)
        yield People(house, phone, ntfy, person)


async def gone(people: People, vmid: int) -> bool:
    """Whether a guest's device is."""
    return f"proxmox_lab_guest_{vmid}" not in await people.house.hass.devices()


@asynccontextmanager
async def forger(people: People) -> AsyncIterator[Any]:
    """An automation that says what the app says when a button is pressed."""
    hass = people.house.hass

    async def forge(action: str, **more: Any) -> None:
        action_of = {
            "event": "mobile_app_notification_action",
            "event_data": {"action": action, "device_id": "harness", **more},
        }
        body = {"triggers": [{"trigger": "event", "event_type": FORGER}], "actions": [action_of]}
        await hass.call(hass.ha.automation_raw, FORGER, body)
        await hass.call(hass.ha.wait_state, f"automation.{FORGER}", "on")
        await hass.call(hass.ha.fire_event, FORGER)
        await hass.call(hass.ha.wait_trace, FORGER)

    try:
        yield forge
    finally:
        await hass.call(hass.ha.delete_automation, FORGER)


async def test_approving_by_a_code(people: People) -> None:
    house, phone, hass = people.house, people.phone, people.house.hass
    stopped = [vmid for vmid, one in house.lab.world.guests.items() if not one.running and not one.template]
    vmid = stopped[0]
    wanted = {"phone": phone.device_id, "person": people.person, "approver": "alice"}
    async with automation(hass, "approval", **wanted) as robot, forger(people) as forge:
        given, push = await people.asked(vmid)
        assert "one-time code" in push["message"], push
        assert "Home Assistant" in push["message"]
        approve, reject = push["data"]["actions"]
        assert (approve["title"], approve["behavior"], reject["title"]) == ("Approve", "textInput", "Reject")
        code = await people.code(given)
        await forge(approve["action"], reply_text=code)
        await phone.press(push, "Approve", reply_text="WRON-GONE")
        wrong = await phone.push("Not approved", "4 tries are left")
        assert wrong["data"]["actions"] == push["data"]["actions"]
        assert list(await people.waiting()) == [given]  # and what was forged did nothing
        await phone.press(wrong, "Approve", reply_text="")
        await phone.push("Not approved", "No one-time code")
        await phone.press(wrong, "Approve", reply_text=code.lower())
        await phone.push("Approved", "press it again")
        await people.cleared(given)
        assert house.lab.requests.count("DELETE", f"*/{vmid}") == 0
        await people.order(f"guest/{vmid}/", "delete")
        await hass.until(lambda: gone(people, vmid), "it is not deleted")
        assert house.lab.requests.count("DELETE", f"*/{vmid}") == 1
        assert await robot.fired() >= 5
        await well(hass)
