"""On the broker inside the process, which speaks MQTT 3.1.1 only and keeps what is retained."""

from pathlib import Path

from mqtt_bridge.mqtt.embedded import EmbeddedBroker
from tests.commands.desk import asked, open_desk


async def test_json_works_and_what_is_stored_is_refused(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path / "b", port=0, prefer="amqtt") as options:
        async with open_desk(options, tmp_path / "one") as desk:
            assert (await desk.order())["ok"] is True
            await desk.say("start")
            assert (await desk.answer(1))["refused"] == "bare_word"
            stored = asked("reboot")
            await desk.say(stored, retain=True)
            assert (await desk.answer(0, stored["id"]))["ok"] is True
            await desk.say("shutdown", "proxmox/lab/guest/101/command", retain=True)
            await desk.answer(3)
        async with open_desk(options, tmp_path / "two") as later:
            assert (await later.order())["ok"] is True
            assert [call.action for call in later.entry.calls] == ["guest.start"]
            assert {a["refused"] for a in later.answers()} <= {None, "retained"}
