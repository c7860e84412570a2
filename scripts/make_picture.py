"""Makes `docs/demo.svg`, the live view of a demo in trouble, from a real run."""

import asyncio
import io
import tempfile
from pathlib import Path

from rich.console import Console

from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.live import LiveView
from proxmox_mcp.serving import Served

TARGET = Path(__file__).resolve().parent.parent / "docs" / "demo.svg"
CONNECT = [
    "MCP client     http://127.0.0.1:8080/mcp   header  Authorization: Bearer …",
    "mosquitto_sub  mosquitto_sub -h 127.0.0.1 -p 1883 -u bridge -P … -t 'proxmox/#' -v",
    "MQTT explorer  host 127.0.0.1  port 1883  user bridge  password …",
    "break things   PROXMOX_LAB_CONTROL=… proxmox-mcp lab fault node-down pve2",
]


async def main() -> None:
    """Run it, break a little, take the picture."""
    options = LabOptions(speed=5, pvestatd_interval=0)
    with tempfile.TemporaryDirectory() as state_dir:
        async with Lab(options) as lab:
            settings = load(
                {**lab.env, "STATE_DIR": state_dir, "POLL_INTERVAL": "2", "POLL_TASKS_INTERVAL": "1"}, search=False
            )
            async with Served(settings, port=0, embedded_port=0) as served:
                await served.bridge.ready()
                lab.fault("guest-crash", 103)
                await asyncio.sleep(3)
                lab.fault("node-down", "pve2")
                client = served.bridge.pollers.clients["lab"]
                await client.post("nodes", "pve3", "qemu", 108, "status", "stop")
                await asyncio.sleep(6)
                console = Console(record=True, width=130, height=47, force_terminal=True, file=io.StringIO())
                console.print(LiveView(await served.state.view(), CONNECT))
                TARGET.write_text(console.export_svg(title="make demo"), encoding="utf-8")


asyncio.run(main())
