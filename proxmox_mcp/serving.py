"""What runs together: the bridge, the mirror and the MCP server, as `serve`, `http` and `stdio` need them."""

import argparse
import asyncio
import dataclasses
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from mqtt_bridge import logs, statedir
from mqtt_bridge.broker import Broker, BrokerOptions
from mqtt_bridge.bus import Bus, OnMessages
from mqtt_bridge.loopback import Loopback
from mqtt_bridge.model import utc
from mqtt_bridge.settings import Settings, load
from mqtt_bridge.statedir import LocalOwner
from mqtt_bridge.topics import Topics
from proxmox_mcp.state import State

if TYPE_CHECKING:
    from mqtt_bridge.app import Bridge

MAX_PACKET = 4 << 20  # bytes of one message that a mirror takes: the manifest of a very large site fits


def bus_factory(options: BrokerOptions, role: str) -> Callable[[OnMessages], AbstractAsyncContextManager[Bus]]:
    """Connections to one broker, as a mirror wants them."""
    return lambda on_messages: Broker(options, on_messages, role=role, max_packet=MAX_PACKET)


def find_broker(settings: Settings) -> LocalOwner | None:
    """The configured broker, else that of the bridge that owns our STATE_DIR; None: there is none to read from."""
    from mqtt_bridge.app import broker_options  # noqa: PLC0415 -- not before it is needed

    configured = broker_options(settings.mqtt)
    if configured:
        return LocalOwner(configured, settings.mqtt.base_topic)
    return statedir.local_owner(settings.general.state_dir)


@asynccontextmanager
async def private_poller(settings: Settings) -> AsyncIterator[Loopback]:
    """A poller of our own, with no broker: what reads fall back on while no bridge is online."""
    from mqtt_bridge.pollers import Pollers  # noqa: PLC0415
    from mqtt_bridge.proxmox.pulse import Writer  # noqa: PLC0415

    writer = Writer("private", secrets.token_hex(8), utc(time.time()) or "")
    async with Pollers(settings, writer) as pollers:
        pollers.poll()
        yield pollers.loopback
