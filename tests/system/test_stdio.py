"""`proxmox-mcp stdio` as agents start it: beside a bridge, many at once, with none, and as one comes and goes."""

import asyncio
import json
import os
import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab
from tests.support.processes import BIN, Agent, Mode, Serve, Tree, children, listens, over_stdio, until
from tests.system.conftest import Env

RESOURCES = ("GET", "/cluster/resources")


async def polls_per_second(lab: Lab, seconds: float = 2.5) -> float:
    lab.requests.clear()
    await asyncio.sleep(seconds)
    return lab.requests.count(*RESOURCES) / seconds


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_beside_a_bridge_it_reads_mqtt(env: Env, tmp_path: Path, mode: Mode) -> None:
    async with Serve(tmp_path / "serve", env()) as serve:
        await serve.ready()
        async with over_stdio(tmp_path / "agent", env(), mode) as agent:
            answer = await agent.ask("get_vms")
            assert (answer["source"], answer["complete"]) == ("mqtt", True)
            assert len(answer["guests"]) + len((await agent.ask("get_lxcs"))["guests"]) == 24


async def test_five_beside_one_bridge_add_no_poller_broker_or_listener(lab: Lab, env: Env, tmp_path: Path) -> None:
    async with Serve(tmp_path / "serve", env()) as serve, AsyncExitStack() as stack:
        await serve.ready()
        async with Tree(serve.owned_broker()) as tree:
            await until(lambda: len(tree.guests()) == 24)
            alone = await polls_per_second(lab)
            agents = await asyncio.gather(
                *(stack.enter_async_context(over_stdio(tmp_path / f"agent{n}", env())) for n in range(5))
            )
            answers = await asyncio.gather(*(agent.ask("get_vms") for agent in agents))
            assert [a["source"] for a in answers] == ["mqtt"] * 5
            assert await polls_per_second(lab) < alone + 1.5, "each poller of its own would add two a second"
            started = children(os.getpid(), "stdio")
            assert len(started) == 5
            assert [pid for pid in started if listens(pid) or children(pid)] == []
            assert [t for t in tree.retained if t.startswith("proxmox/bridge/") and "/main/" not in t] == []


async def test_without_a_bridge_it_asks_the_api(env: Env, lab: Lab, tmp_path: Path) -> None:
    async with over_stdio(tmp_path / "agent", env()) as agent:
        answer = await agent.ask("get_vms")
        assert (answer["source"], answer["complete"]) == ("api", True)
        assert len(answer["guests"]) + len((await agent.ask("get_lxcs"))["guests"]) == 24
        assert [pid for pid in children(os.getpid(), "stdio") if listens(pid) or children(pid)] == []
        lab.fault("guest-crash", next(g["vmid"] for g in answer["guests"] if g["status"] == "running"))
        async with asyncio.timeout(15):
            while (await agent.ask("get_vms"))["guests"] == answer["guests"]:
                await asyncio.sleep(0.1)


async def test_it_follows_the_bridge_that_dies_and_comes_back(broker_env: Env, lab: Lab, tmp_path: Path) -> None:
    async with Serve(tmp_path / "serve", broker_env()) as serve:
        await serve.ready()
        async with over_stdio(tmp_path / "agent", broker_env()) as agent:
            assert (await agent.ask("get_vms"))["source"] == "mqtt"
            await serve.kill()
            assert await _source_becomes(agent, "api") < 30
            stopped = next(g for g in (await agent.ask("get_vms"))["guests"] if g["status"] == "running")
            lab.fault("guest-crash", stopped["vmid"])
            async with asyncio.timeout(15):
                while (await agent.ask("get_guest", vmid=stopped["vmid"]))["guest"]["status"] != "stopped":
                    await asyncio.sleep(0.1)
            await serve.again()
            assert await _source_becomes(agent, "mqtt") < 30
            alone = await polls_per_second(lab)
            assert alone < 3, "the private poller goes on"
            assert (await agent.ask("get_guest", vmid=stopped["vmid"]))["guest"]["status"] == "stopped"


async def test_it_finds_a_bridge_with_its_own_broker_that_starts_later(env: Env, tmp_path: Path) -> None:
    """endpoint.json comes and goes with the bridge; a client that is already running follows."""
    async with over_stdio(tmp_path / "agent", env()) as agent:
        assert (await agent.ask("get_vms"))["source"] == "api"
        async with Serve(tmp_path / "serve", env()) as serve:
            await serve.ready()
            assert await _source_becomes(agent, "mqtt") < 30


async def _source_becomes(agent: Agent, source: str) -> float:
    began = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            answer = await agent.attempt("get_vms")
            if answer is not None and answer["source"] == source:
                assert len(answer["guests"]) > 5
                return time.monotonic() - began
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("bridge", [True, False])
async def test_it_exits_at_once_when_its_client_is_gone(env: Env, tmp_path: Path, bridge: bool) -> None:
    async with AsyncExitStack() as stack:
        if bridge:
            serve = await stack.enter_async_context(Serve(tmp_path / "serve", env()))
            await serve.ready()
        process = subprocess.Popen(
            [str(BIN / "proxmox-mcp"), "stdio"],
            env=env(), cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            hello = {
                "jsonrpc": "2.0", "id": 1, "method": "initialize",
                "params": {
                    "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
                },
            }  # fmt: skip
            call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "get_nodes", "arguments": {}}}
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            assert process.stdin
            assert process.stdout
            for message in (hello, ready, call):
                process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(2)]
            assert [json.loads(line)["id"] for line in lines] == [1, 2]
            process.stdin.close()
            assert await asyncio.to_thread(process.wait, 15) == 0
            assert process.stderr
            assert b"Traceback" not in process.stderr.read()
            process.stdout.close()
        finally:
            process.kill()
            process.wait()
