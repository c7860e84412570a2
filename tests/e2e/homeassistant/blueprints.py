"""Blueprints as people use them: imported by their address, made into automations, told on a phone, pressed there.

async with automation(hass, "backup_failed", phones=[phone.device_id]) as robot:
    house.lab.fault("backup-fail", "100")
    ...
    push = await phone.push("web01")
    await phone.press(push, "Try again")
    await robot.ran(2)
    await plays(house, gone=101)           # restarts, flaps, a removal
    assert await robot.fired() == 2
await well(hass)
"""

import asyncio
import http.server
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.homeassistant.hass import AWAY, PATIENCE, Hass

if TYPE_CHECKING:
    from tests.e2e.homeassistant.conftest import House

FOLDER = Path(__file__).parents[3] / "ha_blueprints"
OURS = "proxmox_mcp"
TRACES = 100
SUBSCRIBED = 2.0  # seconds after which an automation that is on hears MQTT; Home Assistant collects subscriptions
ROBOTS = r"homeassistant\.(components\.(automation|script|blueprint|mqtt|mobile_app)|helpers\.(script|template))"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        """Nothing of it on the terminal."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The folder's address on loopback."""

    def handler(*words: Any) -> _Quiet:
        return _Quiet(*words, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def imported(hass: Hass, name: str, domain: str = "automation") -> str:
    """Import it as the button in the UI does: fetched by its address, judged, then saved. Gives its path there."""
    path = f"{OURS}/{name}.yaml"
    with _served(FOLDER / domain / OURS) as address:
        url = f"{address}/{name}.yaml"
        found = await hass.call(hass.ha.ws, "blueprint/import", url=url)
    assert not found["validation_errors"], found["validation_errors"]
    assert found["blueprint"]["metadata"]["domain"] == domain
    await hass.call(
        hass.ha.ws, "blueprint/save", domain=domain, path=path, yaml=found["raw_data"], source_url=url,
        allow_override=True,
    )  # fmt: skip
    listed = await hass.call(hass.ha.blueprints, domain)
    assert "error" not in listed[path], listed[path]
    return path


@dataclass
class Robot:
    """An automation (or script) made of a blueprint."""

    hass: Hass
    id: str
    entity: str
    domain: str = "automation"

    async def runs(self) -> list[dict[str, Any]]:
        """Those that ended and got past their conditions, oldest first; none with an error."""
        traces: list[dict[str, Any]] = await self.hass.call(self.hass.ha.traces, self.id, self.domain)
        found = [t for t in traces if t["state"] == "stopped" and t["script_execution"] != "failed_conditions"]
        wrong = [t for t in found if t.get("error") or t["script_execution"] == "error"]
        assert not wrong, wrong
        return sorted(found, key=lambda one: str(one["timestamp"]["start"]))

    async def fired(self) -> int:
        """How often it ran."""
        return len(await self.runs())

    async def ran(self, count: int, seconds: float = PATIENCE) -> list[dict[str, Any]]:
        """Wait until it ran so often in all."""

        async def often() -> bool:
            return await self.fired() >= count

        await self.hass.until(often, f"{self.id} did not run {count} times", seconds)
        return await self.runs()

    async def variables(self, run: dict[str, Any]) -> dict[str, Any]:
        """What it knew when it began: the inputs, `trigger`, `this`, its own variables."""
        trace = await self.hass.call(self.hass.ha.trace, self.id, run["run_id"], self.domain)
        found: dict[str, Any] = {}
        for steps in trace["trace"].values():
            for step in steps:
                found |= step.get("changed_variables") or {}
        return found


@asynccontextmanager
async def automation(hass: Hass, blueprint: str, name: str = "", /, **inputs: Any) -> AsyncIterator[Robot]:
    """Imported, and made an automation as the editor does; it is removed in the end.

    `name`: another one than before, where what Home Assistant remembers of that (when it ran last) matters.
    """
    path = await imported(hass, blueprint)
    name = name or f"test_{blueprint}"
    entity = await hass.call(hass.ha.automation_from_blueprint, name, path, inputs)
    body = {"alias": name, "use_blueprint": {"path": path, "input": inputs}, "trace": {"stored_traces": TRACES}}
    await hass.call(hass.ha.rest, "POST", f"/api/config/automation/config/{name}", body)
    await hass.call(hass.ha.wait_state, entity, "on")
    await asyncio.sleep(SUBSCRIBED)
    try:
        yield Robot(hass, name, entity)
    finally:
        await hass.call(hass.ha.delete_automation, name)


@asynccontextmanager
async def script(hass: Hass, blueprint: str, /, **inputs: Any) -> AsyncIterator[Robot]:
    """The same for a script."""
    path = await imported(hass, blueprint, "script")
    name = f"test_{blueprint}"
    entity = await hass.call(hass.ha.script_from_blueprint, name, path, inputs)
    try:
        yield Robot(hass, name, entity, "script")
    finally:
        await hass.call(hass.ha.rest, "DELETE", f"/api/config/script/config/{name}")


@dataclass
class Phone:
    """A phone with Home Assistant's app: what was pushed to it, and its buttons."""

    hass: Hass
    device_id: str
    service: str
    pushes: list[dict[str, Any]] = field(repr=False)

    def forget(self) -> None:
        """What came up to now does not count."""
        self.pushes.clear()

    async def push(self, *texts: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for the newest push that has all of these texts in its title or message."""

        async def come() -> bool:
            return bool(self.told(*texts))

        await self.hass.until(come, f"no push with {texts}, only {self.pushes}", seconds)
        return self.told(*texts)[-1]

    def told(self, *texts: str) -> list[dict[str, Any]]:
        """Pushes with all of these texts."""
        return [
            one
            for one in list(self.pushes)
            if all(text in f"{one.get('title', '')}\n{one.get('message', '')}" for text in texts)
        ]

    @staticmethod
    def buttons(push: dict[str, Any]) -> dict[str, str]:
        """Actions by what is written on the buttons."""
        return {one["title"]: one["action"] for one in push.get("data", {}).get("actions", ())}

    async def press(self, push: dict[str, Any], title: str, **more: Any) -> None:
        """As the app does it: it sends what was on the notification, too. `more`: what was typed (`reply_text`)."""
        action = self.buttons(push)[title]
        said = {"message": push["message"], "tag": push.get("data", {}).get("tag", ""), "device_id": "harness", **more}
        await self.hass.call(self.hass.ha.press_notification_action, action, **said)


async def ready(house: "House") -> None:
    """Every guest of the lab is a device, and nothing that is one is unavailable."""
    await house.hass.until(lambda: _ready(house), "not all guests are there and available", 90)


async def _ready(house: "House") -> bool:
    guests = {f"proxmox_lab_guest_{vmid}" for vmid, one in house.lab.world.guests.items() if not one.template}
    devices = await house.hass.devices()
    there = {key for key in devices if key.startswith("proxmox_lab_guest_")}
    return guests == there and "proxmox_lab_cluster" in devices and not await house.hass.away("")


async def plays(house: "House", gone: int | str = "") -> None:
    """What must fire nothing: an API that fails, a dead bridge, restarts of the bridge and Home Assistant, a removal.

    `gone`: a guest that is destroyed in the end. When it returns, everything is available again. To know that nothing
    fired, let something real happen then, wait for its run, and count: nothing has to be waited for that never comes.
    """
    hass = house.hass
    house.lab.fault("api-error", "500")
    await hass.until(lambda: _gone(hass), "nothing became unavailable")
    house.lab.fault("api-error", "0")
    await ready(house)
    house.bridge.send(signal.SIGKILL)
    await hass.until(lambda: _gone(hass), "nothing became unavailable")
    house.bridge.start()
    await ready(house)
    await house.restart()
    await ready(house)
    await hass.call(hass.ha.restart)
    await ready(house)
    if gone:
        house.lab.fault("guest-destroy", str(gone))
        await hass.until(lambda: _removed(hass, f"proxmox_lab_guest_{gone}"), f"guest {gone} is still there")
        await ready(house)


async def _removed(hass: Hass, identity: str) -> bool:
    return identity not in await hass.devices()


async def _gone(hass: Hass) -> bool:
    states = await hass.states()
    ours = [states.get(entity, {}).get("state") for unique, entity in (await hass.ids()).items() if "_guest_" in unique]
    return bool(ours) and all(state == AWAY for state in ours)


async def well(hass: Hass, *, but: str = "") -> None:
    """Nothing in Home Assistant's log of automations, scripts, templates, phones or MQTT, except lines with `but`."""
    said = await hass.call(hass.ha.log_problems, ROBOTS)
    said = [line for line in said if not but or but not in line]
    assert not said, "\n".join(said)
