"""1 000 events, four channels, one of them failing half of the time, the process killed five times."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from pathlib import Path

from tests.notify.parts import Service, until
from tests.support.mosquitto import Mosquitto

ROOT = Path(__file__).parents[2]
EVENTS, KILLS = 1000, 5
FAILING = "C"


async def start(tmp_path: Path, broker: Mosquitto, services: dict[str, Service]) -> Process:
    ports = json.dumps({name: service.port for name, service in services.items()})
    words = ["-m", "tests.notify.killed", str(tmp_path / "journal.db"), str(broker.port), ports, str(EVENTS)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )


async def test_each_channel_has_each_event_exactly_once_or_again_with_its_id_where_it_was_in_flight(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        services = {name: await stack.enter_async_context(Service(name, delay=0.002)) for name in "ABCD"}
        services[FAILING].fails = 0.5
        broker = await stack.enter_async_context(Mosquitto(tmp_path / "m", persistence=True))
        for kill in range(KILLS):
            process = await start(tmp_path, broker, services)
            goal = EVENTS * (kill + 1) // (KILLS + 2)
            await until(lambda goal=goal: len(services["A"].got) >= goal, 60)  # type: ignore[misc]
            process.kill()
            await process.wait()
        process = await start(tmp_path, broker, services)
        async with asyncio.timeout(90):
            assert await process.wait() == 0
    for name, service in services.items():
        assert set(service.ids) == {f"event-{number}" for number in range(EVENTS)}, name
        assert set(service.kinds) == {"event"}
        assert sum(service.twice.values()) - len(service.twice) <= KILLS, "one in flight at each kill, with its id"
    assert services[FAILING].requests > 1.5 * EVENTS
