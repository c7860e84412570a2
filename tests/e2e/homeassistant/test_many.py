"""Figures: rows that the recorder would write, and 500 guests. Of times nothing is asserted.

As part of the suite it is short. `HA_E2E_MEASURE=1` looks longer, so that the figures are worth writing down; they are
printed at the end of the run, and appended as a line of JSON to the file that `HA_E2E_FIGURES` names.
"""

import asyncio
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxmox_mcp.lab import Lab, LabOptions
from tests.e2e.homeassistant.conftest import empty, settings
from tests.e2e.homeassistant.hass import Hass
from tests.support.processes import Command

LIFELIKE = {"POLL_INTERVAL": "10", "POLL_TASKS_INTERVAL": "3", "POLL_DETAILS_BUDGET": "600"}
DAY = 86400
MEASURE = bool(os.environ.get("HA_E2E_MEASURE"))
HELD = 185  # seconds in which figures are held at first, and registries written


@pytest.mark.parametrize(("guests", "seconds"), [(40, 300 if MEASURE else 90), (500, 60 if MEASURE else 15)])
async def test_rows_and_cpu(
    hass: Hass, tmp_path: Path, capsys: pytest.CaptureFixture[str], guests: int, seconds: int
) -> None:
    hass.forget()
    async with Lab(LabOptions(seed=1, guests=guests, nodes=3 if guests < 100 else 8)) as lab:
        env = settings(lab, hass, tmp_path, **LIFELIKE)
        async with Command(tmp_path / "bridge", "mqtt-bridge", env=env) as bridge:
            began = time.monotonic()
            shown = {f"proxmox_lab_guest_{g.vmid}" for g in lab.world.sorted_guests() if not g.template}
            await hass.until(lambda: _all(hass, shown), f"not all {len(shown)} guests are available", 300)
            took = time.monotonic() - began
            await asyncio.sleep(HELD if MEASURE or guests == 40 else 20)
            used = _cpu(hass)
            rows = await asyncio.to_thread(_rows, hass, seconds)
            share = 100 * (_cpu(hass) - used) / seconds
            a_day = sum(rows.values()) * DAY / seconds
            figures = {
                "guests": guests,
                "available_after_s": round(took),
                "rows_a_day": round(a_day),
                "home_assistant_cpu_percent": round(share, 1),
                "seconds": seconds,
                "most": rows.most_common(6),
            }
            with capsys.disabled():
                report(json.dumps(figures))
            if guests == 40:
                assert a_day < 60_000
            await hass.quiet()
            await bridge.stop()
        await empty(hass, env, tmp_path)


def report(line: str) -> None:
    """A measurement is there to be read."""
    print(f"\n{line}")  # noqa: T201
    if name := os.environ.get("HA_E2E_FIGURES"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


async def _all(hass: Hass, shown: set[str]) -> bool:
    return shown <= (await hass.devices()).keys() and not await hass.away("")


def _rows(hass: Hass, seconds: int) -> Counter[str]:
    """State changes by the end of the entity id: what the recorder writes a row for."""
    module: Any = __import__("ha_harness")
    socket = module._WS("127.0.0.1", hass.ha.ha_port, hass.ha.token)
    socket.call("subscribe_events", event_type="state_changed")
    found: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if event := socket.next_event(2):
            entity = str(event["event"]["data"]["entity_id"])
            if not entity.startswith(("sun.", "sensor.sun", "sensor.backup")):
                found["_".join(entity.split("_")[-2:])] += 1
    socket.close()
    return found


def _cpu(hass: Hass) -> float:
    """Seconds that Home Assistant has used."""
    fields = Path(f"/proc/{hass.ha.hass.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
