"""The dashboard as somebody pastes it: saved, opened in a browser, looked at.

HA_DOCS_PICTURES=docs make e2e-ha ARGS='-k dashboard' writes the pictures of the documentation too.
"""

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from tests.e2e.homeassistant.conftest import House
from tests.e2e.homeassistant.hass import Hass
from tests.e2e.homeassistant.screen import Screen, screen
from tests.support.chromium import CHROMIUM

FILE = Path(__file__).parents[3] / "ha_blueprints" / "dashboard" / "proxmox.yaml"
PICTURES = os.environ.get("HA_DOCS_PICTURES", "")
WRONG_TAGS = {"hui-error-card", "hui-warning", "hui-error-heading-badge"}
WRONG_TEXTS = re.compile(r"(?i)entity not (found|available)|configuration error|template ?error|undefined|exception")
GUESTS = ("web01", "web02", "db01", "dns", "ci-runner-1")

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium")


async def save(hass: Hass, address: str, config: dict[str, Any]) -> None:
    """As the raw configuration editor does it."""
    about = {"title": "Proxmox", "icon": "mdi:server-network", "show_in_sidebar": True, "require_admin": False}
    listed = await hass.call(hass.ha.ws, "lovelace/dashboards/list")
    if address not in {one["url_path"] for one in listed}:
        await hass.call(hass.ha.ws, "lovelace/dashboards/create", url_path=address, mode="storage", **about)
    await hass.call(hass.ha.ws, "lovelace/config/save", url_path=address, config=config)


async def well(shown: Screen) -> None:
    """No card says that something is wrong with it."""
    assert not WRONG_TAGS & await shown.tags()
    assert not (found := WRONG_TEXTS.findall(await shown.text())), found


async def ask_for_a_reboot(hass: Hass) -> None:
    """What needs an approval waits for one."""
    async with Broker(BrokerOptions(host="127.0.0.1", port=hass.ha.mqtt_port), role="test") as bus:
        await bus.wait_connected()
        asked = {"command": "reboot", "id": "dashboard-1", "ts": time.time()}
        await bus.publish("proxmox/lab/node/pve1/command", json.dumps(asked).encode(), qos=1)


async def test_it_shows_a_site_as_it_is(house: House, tmp_path: Path) -> None:
    hass, config = house.hass, yaml.safe_load(FILE.read_text(encoding="utf-8"))
    await save(hass, "proxmox-mcp", config)
    async with screen(hass, tmp_path / "browser") as shown:
        await shown.open("/proxmox-mcp/proxmox")
        await shown.shows("Sites", "Nothing waits.", "Recent events")
        await well(shown)  # before there is any device, too
        await hass.until(lambda: found(hass), "no devices")
        await shown.open("/proxmox-mcp/proxmox")
        await shown.shows("Cluster lab", "Backup Server pbs1", "3 of 3 nodes online", "pve1", "ceph-vm", *GUESTS)
        await well(shown)
        house.lab.fault("guest-crash", "100")
        house.lab.fault("storage-fill", "nas", "91")
        house.lab.fault("node-down", "pve3")
        await ask_for_a_reboot(hass)
        await shown.shows(
            "Node pve3 is offline.", "Node reboot of node pve1", "web01 stopped", "Storage nas is 91", "91.0",
            "not seen", "2 of 3 nodes online",
        )  # fmt: skip
        await well(shown)
        await hass.until(lambda: all_linked(hass, shown), "the links are not those to the devices")
        if PICTURES:
            await pictures(hass, shown, Path(PICTURES))


async def found(hass: Hass) -> bool:
    """All guests are there, with all that is on."""
    return sum("_guest_" in one for one in await hass.devices()) == 11 and not await hass.away("")


async def all_linked(hass: Hass, shown: Screen) -> bool:
    """There is a link to each device, and none to another."""
    real = {f"/config/devices/device/{one['id']}" for one in (await hass.devices()).values()}
    return await shown.links("/config/devices/device/") == real


async def pictures(hass: Hass, shown: Screen, folder: Path) -> None:
    """Of the dashboard, a guest's page and a node's."""
    devices = await hass.devices()
    pages = {
        "dashboard": ("/proxmox-mcp/proxmox", 1350, 1500, "Recent events"),
        "guest": (f"/config/devices/device/{devices['proxmox_lab_guest_101']['id']}", 760, 850, "Memory usage"),
        "node": (f"/config/devices/device/{devices['proxmox_lab_node_pve1']['id']}", 760, 900, "Root disk usage"),
    }
    for name, (path, width, height, text) in pages.items():
        await shown.resize(width, height)
        await shown.open(path)
        await shown.shows(text)
        await asyncio.sleep(4)  # pictures of brands and graphs come later
        await shown.page.picture(folder / f"homeassistant-{name}.png")
