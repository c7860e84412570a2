"""What the bridges and notifier processes that run say of themselves: their problems, one row each.

They are read from their retained `bridge/<bridge>/info`; which of them count is told by the sites of these settings.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from mqtt_bridge.errors import BrokerError
from mqtt_bridge.model import BridgeInfo
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.settings import Settings
from mqtt_bridge.statedir import broker_options, local_owner
from mqtt_bridge.topics import Topics
from mqtt_bridge.wording.clean import one_line
from proxmox_mcp.check.findings import Finding

GATHER = 1.0  # seconds in which what is retained arrives
LONGEST = 500  # characters of a problem that are shown
MOST = 50  # processes, and problems of each


async def check_bridges(settings: Settings, limit: float) -> list[Finding]:
    """[] when there is no broker to ask, or it does not answer: `check_broker` says so."""
    owner = local_owner(settings.general.state_dir)
    options = broker_options(settings.mqtt) or (owner.options if owner else None)
    if options is None:
        return []
    names = Topics(owner.base_topic if owner and not settings.mqtt.host else settings.mqtt.base_topic)
    heard: list[Message] = []
    try:
        async with asyncio.timeout(limit), Broker(options, heard.extend, role="check") as broker:
            await broker.first_attempt()
            await broker.subscribe([names.filter("bridge_info"), names.filter("bridge_state")])
            await asyncio.sleep(GATHER)
    except (BrokerError, TimeoutError):
        return []
    return _findings(_online(names, heard), {site.slug for site in settings.sites})


def _online(names: Topics, heard: Sequence[Message]) -> list[BridgeInfo]:
    online: set[str] = set()
    infos: dict[str, BridgeInfo] = {}
    for message in heard:
        parsed = names.parse(message.topic)
        if parsed is None:
            continue
        if parsed.kind.name == "bridge_state" and message.payload == b"online":
            online.add(parsed.ids["bridge"])
        elif parsed.kind.name == "bridge_info":
            with suppress(ValidationError):
                infos[parsed.ids["bridge"]] = BridgeInfo.model_validate_json(message.payload)
    return [info for name, info in sorted(infos.items()) if name in online][:MOST]


def _findings(infos: Sequence[BridgeInfo], sites: set[str]) -> list[Finding]:
    ours = [info for info in infos if not info.sites or not sites or sites & set(info.sites)]
    return [finding for info in ours for finding in _of(info)]


def _of(info: BridgeInfo) -> list[Finding]:
    subject = f"running bridge {one_line(info.bridge, 80)}"
    if not info.problems:
        return [Finding(subject, "runs", True, f"since {one_line(info.started_at, 40)}, and says that all is well")]
    return [Finding(subject, "problem", False, one_line(text, LONGEST)) for text in info.problems[:MOST]]
