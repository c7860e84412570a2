"""`mqtt-bridge --only notify`: bridge and notifiers as two processes on one broker, a real HTTP service at the end."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, Serve, Tree, environment, over_http, run, until
from tests.support.services import NTFY_TOKEN, NtfyServer, Receiver
from tests.system.conftest import Env

ONLY = ("mqtt-bridge", "--only", "notify")


def settings(mosquitto: Mosquitto, receiver: Receiver, folder: Path, **more: str) -> dict[str, str]:
    """Of a machine that knows the broker and the webhook, and no Proxmox host."""
    return environment(
        MQTT_HOST="127.0.0.1",
        MQTT_PORT=str(mosquitto.port),
        STATE_DIR=str(folder),
        ENABLED_NOTIFIERS="WEBHOOK",
        WEBHOOK_OUT_URL=receiver.webhook,
        NOTIFY_DEBOUNCE="0",
        **more,
    )


def kinds(receiver: Receiver) -> list[tuple[str, int | None]]:
    return [(asked.json["kind"], asked.json.get("guest")) for asked in receiver.asked]


async def settled(env: dict[str, str], folder: Path) -> None:
    """The answer to each delivery is in the journal: what a kill interrupts before that is told again."""
    async with asyncio.timeout(60):
        while True:
            told = await asyncio.to_thread(run, "mqtt-bridge", "deliveries", "--json", env=env, cwd=folder)
            rows = [json.loads(line) for line in told.stdout.splitlines()]
            if rows and all(row["state"] == "sent" for row in rows):
                return
            await asyncio.sleep(0.1)


async def test_it_tells_what_the_bridge_publishes_and_catches_up_after_its_own_death(
    broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    receiver = Receiver()
    async with (
        receiver.running(),
        Command(tmp_path / "bridge", "mqtt-bridge", env=broker_env()),
        Tree(mosquitto.options) as tree,
        Command(tmp_path / "notify", *ONLY, env=settings(mosquitto, receiver, tmp_path / "own")) as notify,
    ):
        await notify.said("Telling WEBHOOK")
        await until(lambda: tree.json("bridge/main-notify/state") == "online" and len(tree.guests()) == 24)
        assert tree.json("bridge/main-notify/info")["notifiers"] == {"WEBHOOK": "ok"}
        assert tree.json("bridge/main/info")["notifiers"] == {}
        first, second = sorted(v for v in tree.guests() if tree.status(v) == "running")[:2]
        lab.fault("guest-crash", first)
        await until(lambda: any(guest == first for _, guest in kinds(receiver)), why=lambda: kinds(receiver))
        assert sum(guest == first for _, guest in kinds(receiver)) == 1
        await settled(settings(mosquitto, receiver, tmp_path / "own"), tmp_path)
        await notify.kill()
        await until(lambda: tree.json("bridge/main-notify/state") == "offline")
        lab.fault("guest-crash", second)
        await until(lambda: tree.status(second) == "stopped")
        notify.start()
        await until(lambda: any(guest == second for _, guest in kinds(receiver)), why=lambda: kinds(receiver))
        assert sum(guest == first for _, guest in kinds(receiver)) == 1, "what was delivered is not repeated"
        assert await notify.stop(signal.SIGTERM) == 0
        await until(lambda: tree.json("bridge/main-notify/state") == "offline")
        assert "Traceback" not in notify.err
        assert (tmp_path / "own" / "journal.db").exists()
        told = run("mqtt-bridge", "deliveries", env=settings(mosquitto, receiver, tmp_path / "own"), cwd=tmp_path)
        assert told.returncode == 0
        assert "WEBHOOK" in told.stdout


@pytest.mark.parametrize(
    ("words", "missing", "says"),
    [
        (("mqtt-bridge", "--only", "notify"), "MQTT_HOST", "MQTT_HOST is missing"),
        (("mqtt-bridge", "run", "--only", "notify"), "ENABLED_NOTIFIERS", "no notifier is enabled"),
        (("mqtt-bridge", "--only", "notify", "run"), "WEBHOOK_OUT_URL", "WEBHOOK_OUT_URL is missing"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, words: tuple[str, ...], missing: str, says: str) -> None:
    given = settings(Mosquitto(tmp_path, port=1), Receiver(port=1), tmp_path / "own")
    told = run(*words, env={key: value for key, value in given.items() if key != missing}, cwd=tmp_path)
    assert told.returncode == 2
    assert says in told.stderr
    assert "No Proxmox host" not in told.stderr
    assert not (tmp_path / "own").exists()


def test_a_bridge_still_needs_a_host(tmp_path: Path) -> None:
    told = run(
        "mqtt-bridge", env=settings(Mosquitto(tmp_path, port=1), Receiver(port=1), tmp_path / "own"), cwd=tmp_path
    )
    assert told.returncode == 2
    assert "No Proxmox host is configured" in told.stderr


async def test_beside_the_bridge_it_wants_a_state_dir_of_its_own(
    broker_env: Env, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    async with Command(tmp_path / "bridge", "mqtt-bridge", env=broker_env()), Tree(mosquitto.options) as tree:
        await until(lambda: tree.json("lab/state") == "online")
        told = run(*ONLY, env=settings(mosquitto, Receiver(port=1), tmp_path / "state"), cwd=tmp_path)
        assert told.returncode == 1
        assert "STATE_DIR" in told.stderr


async def test_an_agent_tells_people_through_both_processes(
    broker_env: Env, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The bridge's own ntfy, the webhook of the process apart, and a service that refuses."""
    receiver, ntfy = Receiver(), NtfyServer()
    async with receiver.running(), ntfy.running():
        tells = {
            "ENABLED_NOTIFIERS": "NTFY",
            "NTFY_SERVER_URL": ntfy.url,
            "NTFY_TOPIC": "homelab",
            "NTFY_TOKEN": NTFY_TOKEN,
        }
        async with (
            Serve(tmp_path / "serve", broker_env(MCP_ALLOW="operate", NOTIFY_DIGEST_AT="off", **tells)) as serve,
            Command(tmp_path / "notify", *ONLY, env=settings(mosquitto, receiver, tmp_path / "own")),
            Tree(mosquitto.options) as tree,
        ):
            await serve.ready()
            await until(lambda: tree.json("bridge/main-notify/state") == "online")
            await until(lambda: tree.json("bridge/main/info") and tree.json("lab/state") == "online")
            await asyncio.sleep(1)
            async with over_http(serve.url) as agent:
                told = await agent.ask(
                    "send_notification", message="Fan of pve1 is loud", title="Listen", severity="warning"
                )
                found = {row["channel"]: (row["bridge"], row["status"]) for row in told["channels"]}
                assert found == {"NTFY": ("main", "delivered"), "WEBHOOK": ("main-notify", "delivered")}
                assert told["ok"] is True
                assert ntfy.messages[-1]["title"].endswith("Listen")
                assert receiver.last["title"].endswith("Listen")
                receiver.faults = [404, 404]
                told = await agent.ask("send_notification", message="Again")
                rows = {row["channel"]: row for row in told["channels"]}
                assert (told["ok"], rows["NTFY"]["status"], rows["WEBHOOK"]["status"]) == (
                    False,
                    "delivered",
                    "refused",
                )
                assert "404" in rows["WEBHOOK"]["detail"]
                await until(lambda: tree.json("bridge/main-notify/info")["problems"])
                assert "WEBHOOK" in tree.json("bridge/main-notify/info")["problems"][0]
