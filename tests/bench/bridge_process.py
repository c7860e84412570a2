"""A bridge alone in its process, which measures itself: a line of JSON when it is done, then it stays until stdin ends.

Settings come from the environment; the first argument is the time (Unix seconds) at which this process was started.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from mqtt_bridge.app import Bridge
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.settings import load

QUIET = 4.0  # seconds without a change after which the wave that follows the first poll (details, backups) is over
POLLS = 9


def memory() -> dict[str, int]:
    """Bytes held now and at most so far; nothing where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
    return {key: int(fields[name].split()[0]) * 1024 for key, name in (("rss", "VmRSS"), ("peak", "VmHWM"))}


async def settled(bridge: Bridge) -> None:
    """Until nothing but heartbeats has been published for a while."""
    stats, quiet_since, seen = bridge.pollers.retained.stats, time.monotonic(), 0
    while time.monotonic() - quiet_since < QUIET:
        await asyncio.sleep(0.5)
        if stats["published"] - seen > 20:
            quiet_since = time.monotonic()
        seen = stats["published"]


async def polls(bridge: Bridge) -> dict[str, Any]:
    """CPU seconds of polls, all threads counted, apart by whether they found anything changed."""
    inventory = next(i for i in bridge.pollers.inventories.values() if isinstance(i, Inventory))
    stats = bridge.pollers.retained.stats
    unchanged: list[float] = []
    changed: list[float] = []
    while len(unchanged) < POLLS or not changed:
        before, cpu = stats["published"], time.process_time()
        await inventory.poll()
        await bridge.pollers.retained.settled(bridge.broker)
        used = time.process_time() - cpu
        (unchanged if stats["published"] - before < 20 else changed).append(used)
        await asyncio.sleep(0.7)
    return {"unchanged_cpu": statistics.median(unchanged), "changed_cpu": statistics.median(changed)}


async def main() -> None:
    started = float(sys.argv[1])
    async with Bridge(load(os.environ, search=False)) as bridge:
        opened = time.time()
        await bridge.pollers.polled_once()
        polled = time.time()
        await bridge.ready()
        ready, cpu = time.time(), time.process_time()
        told: dict[str, Any] = {
            "imports_and_open": opened - started,
            "first_poll": polled - started,
            "first_publish": ready - started,
            "first_publish_cpu": cpu,
            "topics": bridge.pollers.retained.stats["published"],
            "rss_at_first_publish": memory().get("rss"),
        }
        await settled(bridge)
        told |= {"settled": time.time() - started - QUIET, **await polls(bridge), **memory()}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
