"""`check` shows what the bridges that run say is wrong with them."""

from pathlib import Path

from mqtt_bridge.model import BridgeInfo
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.settings import load
from proxmox_mcp.check.findings import render
from proxmox_mcp.check.out_bridge import check_bridges
from tests.support.https_host import free_port
from tests.support.mosquitto import Mosquitto
from tests.support.site import Site

SITE = {"PROXMOX_HOST": "h", "PROXMOX_USER": "a@pve!b", "PROXMOX_TOKEN_VALUE": "c", "PROXMOX_SITE": "lab"}


async def test_their_problems_are_rows(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "m") as broker, Broker(broker.options) as bus:
        await bus.wait_connected()
        site = Site(bus)

        async def says(bridge: str, state: str, *problems: str, sites: tuple[str, ...] = ("lab",)) -> None:
            info = BridgeInfo(
                version="1", started_at="now", bridge=bridge, instance="i", sites=sites, problems=problems
            )
            await site.put("bridge_info", info, bridge=bridge)
            await site.put("bridge_state", state, bridge=bridge)

        await says("main", "online", "NTFY: 401: it does not take NTFY_TOKEN.", "one\x1b[31m line\nonly")
        await says("main-notify", "online", sites=())
        await says("gone", "offline", "old news")
        await says("elsewhere", "online", "not ours", sites=("other",))
        await site.put("bridge_info", "{broken", bridge="strange")
        here = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(broker.port), "STATE_DIR": str(tmp_path / "s")}
        found = await check_bridges(load({**SITE, **here}, search=False), 10)
    assert [(one.subject, one.ok) for one in found] == [
        ("running bridge main", False),
        ("running bridge main", False),
        ("running bridge main-notify", True),
    ]
    text = render(found)
    assert "NTFY: 401: it does not take NTFY_TOKEN." in text
    assert "\x1b" not in text
    assert "old news" not in text


async def test_no_broker_is_the_brokers_row(tmp_path: Path) -> None:
    nowhere = {"STATE_DIR": str(tmp_path / "s")}
    assert await check_bridges(load({**SITE, **nowhere}, search=False), 5) == []
    dead = {**nowhere, "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(free_port())}
    assert await check_bridges(load({**SITE, **dead}, search=False), 5) == []
