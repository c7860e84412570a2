"""10 000 guests through a Mosquitto as it comes, seen by a bridge, a mirror and an agent of their own processes."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxmox_mcp.serving import bus_factory
from proxmox_mcp.state import Mirror
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Agent, Command, Serve, Tree, environment, over_http, over_stdio, until
from tests.system.conftest import FAST

MANY = 10_000


@pytest.fixture
def lab_env(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """In a process of its own: with 10 000 guests it needs one."""
    file = tmp_path / "lab.json"
    words = ("proxmox-mcp", "lab", "--nodes", "16", "--guests", str(MANY), "--ready-file", str(file))
    lab = Command(tmp_path / "lab", *words, env=environment()).start()
    end = time.monotonic() + 30
    while not file.exists():
        assert lab.running, lab.err
        assert time.monotonic() < end, lab.err
        time.sleep(0.05)
    yield json.loads(file.read_text(encoding="utf-8"))["env"]
    lab.close()


async def test_ten_thousand_guests(lab_env: dict[str, str], mosquitto: Mosquitto, tmp_path: Path) -> None:
    shared = {**lab_env, **FAST, "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "POLL_INTERVAL": "10"}
    env = environment(**{**shared, "STATE_DIR": str(tmp_path / "state")})
    async with (
        Serve(tmp_path / "serve", env) as serve,
        Tree(mosquitto.options, "proxmox/lab/+", "proxmox/bridge/+/+") as tree,
    ):
        await until(lambda: len((tree.json("lab/manifest") or {"guests": ()})["guests"]) == MANY, 30)
        await serve.ready()
        async with Mirror(bus_factory(mosquitto.options, "test"), sites=["lab"]) as mirror:
            await until(lambda: mirror.complete, 20, lambda: (mirror.trouble, len(mirror.store.missing)))
            assert mirror.store.missing == set()
            assert sum(1 for _ in mirror.store.items("lab", "guest")) == MANY
        async with over_http(serve.url) as near, over_stdio(tmp_path / "agent", env) as far:
            for agent in (near, far):
                async with asyncio.timeout(45):
                    while not (await agent.ask("get_vms", limit=1))["complete"]:
                        await asyncio.sleep(0.1)
            vms, lxcs = await _pages(near, "get_vms"), await _pages(near, "get_lxcs")
            assert len({*vms, *lxcs}) == len(vms) + len(lxcs) == MANY
            assert (await far.ask("get_guest", vmid=vms[-1]))["guest"]["vmid"] == vms[-1]
        assert serve.resident() < 400 << 20
        assert tree.json("lab/state") == "online"
        assert await serve.stop() == 0


async def _pages(agent: Agent, tool: str) -> list[int]:
    """The VMIDs of every page."""
    found: list[int] = []
    cursor: str | None = None
    while True:
        answer = await agent.ask(tool, limit=1000, **({"cursor": cursor} if cursor else {}))
        assert answer["source"] == "mqtt"
        assert answer["complete"]
        assert 0 < len(answer["guests"]) <= 1000
        found += [guest["vmid"] for guest in answer["guests"]]
        cursor = answer.get("next_cursor")
        if not cursor:
            return found
