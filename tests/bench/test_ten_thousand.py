"""10 000 guests: the bridge, the lab and the broker each in a process of their own; then a mirror of what is published.

The first publish is complete when everything that is held has been acknowledged by the broker; it counts from the start
of the bridge's process.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from proxmox_mcp.serving import bus_factory
from proxmox_mcp.state import Mirror
from proxmox_mcp.view import View
from tests.bench.report import Report
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, environment, until

BRIDGE = Path(__file__).parent / "bridge_process.py"
GUESTS = 10_000
STARTS = 3
FILLS = 5
MEGA = 1 << 20


async def test_ten_thousand_guests(tmp_path: Path, report: Report) -> None:
    ready = tmp_path / "ready"
    words = ("proxmox-mcp", "lab", "--guests", str(GUESTS), "--ready-file", str(ready))
    async with Command(tmp_path / "lab", *words, env=environment()) as lab:
        await until(lambda: ready.exists() and ready.read_text(), 60, lambda: lab.err)
        settings = json.loads(ready.read_text())["env"]
        runs = []
        for number in range(STARTS):
            folder = tmp_path / str(number)
            async with Mosquitto(folder / "mosquitto") as mosquitto:
                env = environment(
                    **settings, STATE_DIR=str(folder / "state"), MQTT_HOST="127.0.0.1", MQTT_PORT=str(mosquitto.port)
                )
                runs.append(await _bridge(folder, env, mosquitto, last=number == STARTS - 1))
    _tell(report, runs)


async def _bridge(folder: Path, env: dict[str, str], mosquitto: Mosquitto, *, last: bool) -> dict[str, Any]:
    with (folder / "err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(BRIDGE), repr(time.time()), env=env, cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err,
        )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        line = await process.stdout.readline()
        assert line, (folder / "err").read_text()[-3000:]
        told: dict[str, Any] = json.loads(line)
        if last:
            told["fills"] = [await _fill(mosquitto) for _ in range(FILLS)]
    finally:
        process.stdin.close()
        await process.wait()
    return told


async def _fill(mosquitto: Mosquitto) -> float:
    """Seconds until a new mirror of what the bridge published is complete; fails if anything is missing."""
    began = time.perf_counter()
    async with Mirror(bus_factory(mosquitto.options, "bench"), sites=["lab"]) as mirror:
        await mirror.filled.wait()
        took = time.perf_counter() - began
        assert mirror.store.missing == set()
        assert mirror.complete
        guests = list(View(mirror, "mqtt").guests())
        assert len(guests) == GUESTS
        assert all(g.metrics for g in guests if g.state.status == "running")
    return took


def _tell(report: Report, runs: list[dict[str, Any]]) -> None:
    report.figures["10 000 guests"] = runs
    each = {key: [run[key] for run in runs] for key in runs[0] if key != "fills"}
    middle = {key: statistics.median(values) for key, values in each.items()}
    about = f"{GUESTS:,} guests".replace(",", " ")
    first = ", ".join(f"{s:.1f}" for s in sorted(each["first_publish"]))
    report.add(
        f"{about}: first publish",
        "<= 5 s",
        f"{middle['first_publish']:.1f} s ({first}; first poll known after {middle['first_poll']:.1f} s; "
        f"{middle['first_publish_cpu']:.1f} s CPU)",
        middle["first_publish"] <= 5,
    )
    report.add(
        f"{about}: unchanged poll",
        "<= 0.3 s CPU",
        f"{middle['unchanged_cpu']:.2f} s CPU (one with new figures of all running guests: "
        f"{middle['changed_cpu']:.2f} s)",
        middle["unchanged_cpu"] <= 0.3,
    )
    fills = runs[-1]["fills"]
    fill = statistics.median(fills)
    report.add(
        f"{about}: mirror on a default Mosquitto",
        "<= 2 s, 0 missing",
        f"{fill:.1f} s ({min(fills):.1f} to {max(fills):.1f}), 0 missing",
        fill <= 2,
    )
    if "rss" in runs[0]:
        report.add(
            f"{about}: memory of the bridge",
            "<= 250 MB",
            f"{middle['rss'] / MEGA:.0f} MB, at most {max(each['peak']) / MEGA:.0f} MB",
            max(each["peak"]) <= 250 * MEGA,
        )
