"""An incident through real notifiers: what is edited, what is new, and the same key again after a cut connection."""

import time
from pathlib import Path

from mqtt_bridge.model import Event
from mqtt_bridge.notifiers.discord import DiscordNotifier
from mqtt_bridge.notifiers.notice import Notifier
from mqtt_bridge.notifiers.webhook import WebhookNotifier
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notifying import DiscordOutSettings, WebhookOutSettings
from tests.notify.making import event
from tests.notify.parts import running, until
from tests.support.mosquitto import Mosquitto
from tests.support.services import CUT, DiscordServer, Receiver


def page(happened: Event) -> str:
    return f"https://pve1.lan:8006/#v1:0:=node%2F{happened.node}"


async def test_an_incident_from_its_first_report_to_its_end(tmp_path: Path) -> None:
    discord, receiver = DiscordServer(), Receiver()
    async with discord.running(), receiver.running(), Mosquitto(tmp_path / "m") as broker:
        notifiers: list[Notifier] = [
            DiscordNotifier(DiscordOutSettings(Secret(discord.webhook))),
            WebhookNotifier(WebhookOutSettings(Secret(receiver.webhook), Secret("s3cret"))),
        ]
        discord.faults.append(discord.limited(0.2))
        receiver.faults += [CUT, 503]
        async with running(tmp_path / "j.db", broker.options, {}, notifiers=notifiers, link=page, debounce=0.05) as (
            journal,
            notify,
        ):
            kinds = ("node.offline", "node.fencing", "node.online")
            lost, fencing, back = (event(kind, at=time.time(), same="i", node="pve3") for kind in kinds)
            await journal.commit([lost, fencing], {})
            await until(lambda: len(discord.messages) == 1 and discord.asked[-1].method == "PATCH")
            await until(lambda: len(receiver.asked) == 4)
            await journal.commit([back], {})
            await until(lambda: len(discord.messages) == 2 and len(receiver.asked) == 5)
            await until(lambda: notify.info() == {"DISCORD_OUT": "ok", "WEBHOOK": "ok"})
    assert [asked.method for asked in discord.asked] == ["POST", "POST", "PATCH", "POST"]
    keys = [asked.headers["Idempotency-Key"] for asked in receiver.asked]
    assert keys == [lost.id, lost.id, lost.id, fencing.id, back.id]
    told = [asked.json["notice"] for asked in receiver.asked]
    assert [notice["kind"] for notice in told[2:]] == ["event", "update", "recovery"]
    assert {notice["incident"] for notice in told} == {"i"}
    assert {notice["url"] for notice in told} == {"https://pve1.lan:8006/#v1:0:=node%2Fpve3"}
