"""kill -9 at any moment: the next start is right, and clears what is gone only when it has seen everything."""

import asyncio
import random
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Serve, Tree, until
from tests.system.conftest import Env


def settled(tree: Tree, lab: Lab) -> bool:
    states = {v: "running" if g.running else "stopped" for v, g in lab.world.guests.items()}
    manifest = tree.json("lab/manifest") or {"guests": []}
    return (
        {v: tree.status(v) for v in tree.guests()} == states
        and set(manifest["guests"]) == set(states)
        and tree.json("lab/state") == "online"
        and tree.json("bridge/main/state") == "online"
    )


def difference(tree: Tree, lab: Lab) -> object:
    states = {v: "running" if g.running else "stopped" for v, g in lab.world.guests.items()}
    return set(states.items()) ^ {(v, tree.status(v)) for v in tree.guests()}, tree.json("lab/state")


async def test_killed_at_random_moments(broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path) -> None:
    dice = random.Random(7)  # noqa: S311 -- the same moments each time
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        for _ in range(4):
            await asyncio.sleep(dice.uniform(0.3, 2.5))
            await serve.kill()
            victim, crashed = max(lab.world.guests), next(v for v, g in lab.world.guests.items() if g.running)
            lab.fault("guest-destroy", victim)
            lab.fault("guest-crash", crashed)
            await until(lambda victim=victim: victim not in lab.world.guests)  # type: ignore[misc]
            (tmp_path / "serve" / "err").unlink()
            serve.start()
        await until(lambda: settled(tree, lab), 30, lambda: difference(tree, lab))
        gone = [t for t in tree.retained if "/guest/" in t and int(t.split("/")[3]) not in lab.world.guests]
        assert gone == []
        assert "Traceback" not in serve.err


async def test_with_a_broker_of_its_own_too(env: Env, lab: Lab, tmp_path: Path) -> None:
    """mosquitto dies with it, keeps the port, the passwords and what was retained."""
    async with Serve(tmp_path / "serve", env()) as serve:
        await serve.ready()
        broker = serve.owned_broker()
        async with Tree(broker) as tree:
            await until(lambda: settled(tree, lab), 30, lambda: difference(tree, lab))
            await serve.kill()
            await until(lambda: not tree.bus.connected, 5)
            crashed = next(v for v, g in lab.world.guests.items() if g.running)
            lab.fault("guest-crash", crashed)
            await serve.again()
            assert serve.owned_broker() == broker
            await until(lambda: settled(tree, lab), 30, lambda: difference(tree, lab))


@pytest.mark.parametrize(
    ("fault", "back", "state"),
    [("api-error", ("api-error", "0"), "offline"), ("token-strip", ("token-unstrip",), "degraded")],
)
async def test_nothing_is_cleared_by_a_start_that_sees_nothing(
    broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path, *, fault: str, back: tuple[str, ...], state: str
) -> None:
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        await until(lambda: settled(tree, lab), 30, lambda: difference(tree, lab))
        await serve.kill()
        before = {v: tree.guest(v) for v in tree.guests()}
        storages = {t for t in tree.retained if "storage/" in t or "datastore/" in t}
        victim = max(before)
        lab.fault("guest-destroy", victim)
        await until(lambda: victim not in lab.world.guests)
        lab.fault(fault, *(["503"] if fault == "api-error" else []))
        await serve.again()
        await until(lambda: tree.json("lab/state") == state, 15)
        await asyncio.sleep(3)
        assert {v: tree.guest(v) for v in tree.guests()} == before
        assert {t for t in tree.retained if "storage/" in t or "datastore/" in t} >= storages
        lab.fault(*back)
        await until(lambda: settled(tree, lab), 90, lambda: difference(tree, lab))
        assert victim not in tree.guests()
