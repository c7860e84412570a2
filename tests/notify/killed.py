"""Run by test_kill: commits events 0 to `count`, in whatever run it is, and tells them until it is killed or done."""

import asyncio
import json
import sys
import time
from pathlib import Path

from mqtt_bridge.model import Event, utc
from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.notifying.delivering import Backoff
from tests.notify.parts import quick, running

STATES = "SELECT count(*) FROM deliveries WHERE state = 1"


def numbered(number: int) -> Event:
    """The same number is the same event; each is a problem of its own."""
    return Event(
        id=f"event-{number}",
        kind="guest.oom",
        title=f"Guest {number} was killed",
        source="TEST",
        timestamp=utc(time.time()) or "",
        site="lab",
        node="pve1",
        guest=number,
        severity="error",
        ok=False,
        correlation_id=f"event-{number}",
    )


async def main(path: str, port: str, ports: str, count: str) -> None:
    services: dict[str, int] = json.loads(ports)
    soon = quick(backoff=Backoff(first=0.004, longest=0.05))
    async with running(Path(path), BrokerOptions("127.0.0.1", int(port)), services, tuning=soon) as (journal, _):
        for first in range(0, int(count), 20):
            batch = [numbered(number) for number in range(first, min(first + 20, int(count)))]
            if await journal.commit(batch, {}):
                await asyncio.sleep(0.02)
        while (await journal.rows(STATES, []))[0][0] < int(count) * len(services):
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
