"""`docs/mosquitto.acl` does what it says, on a real Mosquitto, and knows every topic of ours."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

from mqtt_bridge.errors import BrokerRefusedError
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.topics import KINDS
from tests.support.mosquitto import Mosquitto
from tests.support.processes import until

ACL = Path(__file__).resolve().parents[2] / "docs" / "mosquitto.acl"
USERS = {name: f"{name}-secret" for name in ("proxmox", "homeassistant", "alice", "explorer")}
OTHERS = {"triage"}  # published by others (n8n)
CONFIG = "homeassistant/device/proxmox_lab_cluster/config"
DECISION = "proxmox/lab/approval/a1/decision/"


def topic(pattern: str) -> str:
    """One of a kind."""
    named = pattern.replace("<site>", "lab").replace("<severity>", "error").replace("<rest>", "guest/crashed")
    return "proxmox/" + re.sub(r"<\w+>", "x1", named)


OURS = {topic(kind.pattern) for name, kind in KINDS.items() if not kind.inbound and name not in OTHERS}
COMMANDS = {topic(kind.pattern) for name, kind in KINDS.items() if name.endswith("_command") or name == "notify"}


async def test_each_user_may_do_what_the_file_says_and_no_more(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path, users=USERS, acl=ACL.read_text(encoding="utf-8")) as mosquitto,
        AsyncExitStack() as s,
    ):
        bus: dict[str, Broker] = {}
        heard: dict[str, set[str]] = {name: set() for name in USERS}

        def listen(name: str) -> Broker:
            def take(messages: list[Message]) -> None:
                heard[name].update(message.topic for message in messages)

            return Broker(mosquitto.options_for(name), take)  # type: ignore[arg-type]

        for name in USERS:
            bus[name] = await s.enter_async_context(listen(name))
            await bus[name].wait_connected()
            await bus[name].subscribe(["proxmox/#", "homeassistant/#"], qos=1)

        async def may(name: str, *topics: str) -> set[str]:
            return {one for one in topics if await accepted(bus[name], one)}

        everything = (*OURS, *COMMANDS, CONFIG, DECISION + "alice", DECISION + "homeassistant", DECISION + "proxmox")
        written = {name: await may(name, *everything) for name in USERS}
        assert written == {
            "proxmox": {*OURS, CONFIG, DECISION + "proxmox"},
            "homeassistant": {*COMMANDS, CONFIG, DECISION + "homeassistant"},
            "alice": {DECISION + "alice"},
            "explorer": set(),
        }
        told = OURS | {DECISION + "alice", DECISION + "homeassistant", DECISION + "proxmox"}
        notify = {one for one in COMMANDS if one.endswith("/notify")}
        assert await hears(heard, "proxmox") >= told | COMMANDS | {CONFIG}
        assert await hears(heard, "homeassistant") >= told | {CONFIG}
        assert await hears(heard, "alice") == told | notify
        assert await hears(heard, "explorer") == told | notify | {CONFIG}


async def accepted(bus: Broker, where: str) -> bool:
    try:
        await bus.publish(where, b"{}", qos=1)
    except BrokerRefusedError:
        return False
    return True


async def hears(heard: dict[str, set[str]], name: str) -> set[str]:
    """What somebody got, once the last topic that all may read has come."""
    await until(lambda: heard[name] >= OURS | {DECISION + "alice"})
    return heard[name]
