"""API hosts that go down, hang and come back, and tokens that change, under a running `serve`."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Agent, Serve, Tree, environment, over_http, until
from tests.system.conftest import FAST, QUICK, Env


async def test_a_cluster_of_two_whose_first_host_is_switched_off(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """From a .env alone."""
    async with Lab(QUICK) as lab:
        first, second = list(lab.hosts)[:2]
        settings = {
            **FAST, "STATE_DIR": str(tmp_path / "state"), "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port),
            "LAB_CONFIGURATION": "CLUSTERED", "PVE_CLUSTER_NAME": "lab",
            "PVE_CLUSTER_SUBNODES": second,
            **{key: value for key, value in lab.env.items() if key.startswith(("PVE_CLUSTER_PRIMARY", second.upper()))},
        }  # fmt: skip
        folder = tmp_path / "serve"
        folder.mkdir()
        (folder / ".env").write_text("".join(f"{k}={v}\n" for k, v in settings.items()), encoding="utf-8")
        async with Serve(folder, environment()) as serve, Tree(mosquitto.options) as tree:
            await serve.ready()
            await until(tree.whole)
            assert tree.json("lab/heartbeat")["endpoint"] == "127.0.0.1", "the first is named by its address"
            async with over_http(serve.url) as agent:
                lab.fault("node-down", first)
                await until(lambda: tree.json("lab/heartbeat")["endpoint"] == second)
                await until(lambda: tree.json(f"lab/node/{first}")["status"] == "offline")
                assert tree.json("lab/state") == "online"
                answer = await agent.ask("get_nodes")
                assert (answer["source"], answer["stale"], answer["complete"]) == ("mqtt", False, True)
                assert {n["node"]: n["status"] for n in answer["nodes"]}[first] == "offline"
                moved = next(g for g in (await agent.ask("get_vms"))["guests"] if g["node"] == second)
                lab.fault("guest-migrate", moved["vmid"], "pve3")
                await until(lambda: tree.guest(moved["vmid"])["node"] == "pve3")
                assert not any(g["status"] == "running" for g in (await agent.ask("get_vms", node=first))["guests"]), (
                    "guests of a lost node are not running"
                )
                lab.fault("node-up", first)
                await until(lambda: tree.json(f"lab/node/{first}")["status"] == "online")
        assert lab.violations == []


async def test_every_host_down_and_back(broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        await serve.ready()
        await until(tree.whole)
        async with over_http(serve.url) as agent:
            before = {g: tree.guest(g) for g in tree.guests()}
            for host in lab.hosts:
                lab.fault("host-down", host)
            await until(lambda: tree.json("lab/state") == "offline")
            heartbeat = tree.json("lab/heartbeat")
            assert heartbeat["reason"]
            assert "refused" in heartbeat["reason"].lower() or "reach" in heartbeat["reason"].lower()
            assert {g: tree.guest(g) for g in tree.guests()} == before, "retained data stays"
            answer = await agent.ask("get_vms")
            assert answer["source"] == "mqtt"
            assert answer["age_s"] is not None
            await until_stale(agent)
            assert tree.json("pbs1/state") == "online", "one site's trouble is its own"
            for host in lab.hosts:
                lab.fault("host-up", host)
            await until(lambda: tree.json("lab/state") == "online", 30)
            await until_stale(agent, stale=False)  # the mirror reads on a connection of its own
        assert await serve.stop() == 0


async def until_stale(agent: Agent, seconds: float = 30, *, stale: bool = True) -> None:
    async with asyncio.timeout(seconds):
        while (await agent.ask("get_vms"))["stale"] is not stale:
            await asyncio.sleep(0.1)


async def test_down_at_the_start(broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path) -> None:
    for host in lab.hosts:
        lab.fault("host-down", host)
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        await serve.ready()
        await until(lambda: tree.json("lab/state") == "offline")
        await until(lambda: tree.json("pbs1/state") == "online")
        async with over_http(serve.url) as agent:
            answer = await agent.ask("get_vms")
            assert (answer["complete"], answer["stale"]) == (False, True), "no guests were seen, which is not none"
            for host in lab.hosts:
                lab.fault("host-up", host)
            await until(tree.whole, 30)
            async with asyncio.timeout(30):
                while not (await agent.ask("get_vms"))["complete"]:
                    await asyncio.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_hosts_that_hang(
    broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path, number: signal.Signals
) -> None:
    """No answer at all: reads go on, and the end takes no longer than it may."""
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        await serve.ready()
        await until(tree.whole)
        async with over_http(serve.url) as agent:
            lab.fault("api-hang")
            hanging = asyncio.create_task(agent.attempt("test_connectivity"))
            began = time.monotonic()
            for _ in range(20):
                assert (await agent.ask("get_vms"))["source"] == "mqtt"
            assert time.monotonic() - began < 15
            if number == signal.SIGINT:
                lab.fault("api-hang", "off")
                lab.fault("guest-crash", running(tree))
                await until(lambda: tree.json("lab/state") == "online", 30)
            hanging.cancel()
            await asyncio.wait([hanging])
        assert await serve.stop(number) == 0
        await until(lambda: tree.json("bridge/main/state") == "offline")
        assert "Traceback" not in serve.err


def running(tree: Tree) -> int:
    return min(v for v in tree.guests() if tree.status(v) == "running")


async def test_a_token_that_is_revoked(broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        await serve.ready()
        await until(tree.whole)
        lab.fault("token-revoke")
        await until(lambda: tree.json("lab/state") == "offline")
        assert "token" in tree.json("lab/heartbeat")["reason"].lower()
        assert len(tree.guests()) == 24
        lab.fault("token-restore")
        await until(lambda: tree.json("lab/state") == "online", 30)


async def test_a_token_that_loses_its_rights(broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Lists turn empty with 200: nothing is deleted, and it is said which privilege is missing."""
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        await serve.ready()
        await until(tree.whole)
        await until(lambda: all(_named(tree, site) for site in ("lab", "pbs1")))
        before = things(tree)
        lab.fault("token-strip")
        await until(lambda: tree.json("lab/state") == "degraded")
        await asyncio.sleep(3)
        assert things(tree) == before
        assert "VM.Audit" in tree.json("lab/heartbeat")["reason"] or "lacks" in tree.json("lab/heartbeat")["reason"]
        async with over_http(serve.url) as agent:
            answer = await agent.ask("get_vms")
            assert not answer["complete"]
            assert answer["guests"]
        lab.fault("token-unstrip")
        await until(lambda: tree.json("lab/state") == "online", 90)
        assert things(tree) == before


def _named(tree: Tree, site: str) -> bool:
    """Its manifest is there, which is published after what it names."""
    manifest = tree.json(f"{site}/manifest")
    return bool(manifest and manifest["complete"] and (manifest["guests"] or manifest["datastores"]))


def things(tree: Tree) -> set[str]:
    """What exists by MQTT: guests, nodes, storages, datastores; disks and pools come when they are read."""
    kinds = ("guest", "node", "storage", "shared_storage", "datastore")
    late = ("disk", "zfs")
    split = {t: t.split("/") for t in tree.retained if not t.endswith("/metrics")}
    found = {t for t, parts in split.items() if parts[2] in kinds and parts[-2] not in late}
    assert found
    return found
