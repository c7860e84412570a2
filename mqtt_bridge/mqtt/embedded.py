"""A broker of our own where none is configured: mosquitto as a child, else amqtt inside the process (DESIGN 4).

`broker.json` in STATE_DIR keeps the port and the passwords, so that clients set up once find it again.
"""

import ipaddress
import json
import logging
import secrets
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from mqtt_bridge.errors import BrokerError
from mqtt_bridge.mqtt import embedded_mosquitto
from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.mqtt.embedded_mosquitto import ROLES, MosquittoChild, PortTakenError
from mqtt_bridge.secret import Secret
from mqtt_bridge.statedir import private_dir, write_private

log = logging.getLogger(__name__)

Kind = Literal["mosquitto", "amqtt"]
PORTS = 100  # how many ports after the wanted one are tried


@dataclass
class _Memory:
    """broker.json: `asked` is the port that was wanted when `port` was chosen."""

    asked: int = 0
    port: int = 0
    users: dict[str, str] = field(default_factory=dict)


class EmbeddedBroker:
    """`async with` it for the BrokerOptions of the role `bridge`; `kind` says which broker it is.

    `roles` has every role's password: mosquitto holds them to an ACL, amqtt lets each do everything. `bind` opens it
    to that address, beyond loopback only with mosquitto; `port` 0 takes any free one. Raises BrokerError.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        bind: str | None = None,
        port: int = 1883,
        base_topic: str = "proxmox",
        prefer: Literal["auto", "mosquitto", "amqtt"] = "auto",
    ) -> None:
        self.kind: Kind = "mosquitto"
        self.roles: dict[str, Secret] = {}
        self.child: MosquittoChild | None = None
        self._state_dir = state_dir
        self._host = bind or "127.0.0.1"
        self._asked = port
        self._base = base_topic
        self._prefer = prefer
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> BrokerOptions:
        private_dir(self._state_dir)
        memory = self._recall()
        self.roles = {role: Secret(memory.users.setdefault(role, secrets.token_urlsafe(18))) for role in ROLES}
        memory.port = await self._open(memory)
        memory.asked = self._asked
        write_private(self._file, json.dumps(vars(memory), indent=1))
        return BrokerOptions(
            host=_reachable(self._host),
            port=memory.port,
            username="bridge",
            password=self.roles["bridge"],
            protocol="auto" if self.kind == "mosquitto" else "3.1.1",
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def _file(self) -> Path:
        return self._state_dir / "broker.json"

    def _recall(self) -> _Memory:
        try:
            stored: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            return _Memory(int(stored["asked"]), int(stored["port"]), dict(stored["users"]))
        except FileNotFoundError:
            return _Memory()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BrokerError(
                f"{self._file} cannot be read ({error}).",
                cure="Delete it; passwords and the port are then chosen anew.",
            ) from error

    async def _open(self, memory: _Memory) -> int:
        binary = embedded_mosquitto.find() if self._prefer != "amqtt" else None
        if binary:
            try:
                return await self._open_mosquitto(binary, memory)
            except BrokerError as error:
                if self._prefer == "mosquitto" or not _is_loopback(self._host):
                    raise
                log.warning("%s The broker inside this process (amqtt) is used instead.", error)
        elif self._prefer == "mosquitto":
            raise BrokerError("mosquitto is not installed.", cure="Install it, or set MQTT_HOST to a broker.")
        return await self._open_amqtt(memory)

    async def _open_mosquitto(self, binary: str, memory: _Memory) -> int:
        directory = self._state_dir / "mosquitto"
        for port in self._ports(memory):
            child = MosquittoChild(binary, directory, (self._host, port), self.roles, self._base)
            try:
                self.child = await self._stack.enter_async_context(child)
            except PortTakenError:
                continue
            self.kind = "mosquitto"
            return port
        raise self._no_port()

    async def _open_amqtt(self, memory: _Memory) -> int:
        if not _is_loopback(self._host):
            raise BrokerError(
                f"The broker inside this process cannot be opened to {self._host}: it has no access rules.",
                cure="Install mosquitto, or unset MQTT_EMBEDDED_BIND, or set MQTT_HOST to a broker.",
            )
        from mqtt_bridge.mqtt.embedded_amqtt import AmqttThread  # noqa: PLC0415 - 60 ms that mosquitto users need not pay

        for port in self._ports(memory):
            await self._stack.enter_async_context(AmqttThread(self._state_dir / "amqtt", self._host, port, self.roles))
            self.kind = "amqtt"
            return port
        raise self._no_port()

    def _ports(self, memory: _Memory) -> Iterator[int]:
        """Free ports, the best first: the one of last time, the one asked for, those after it."""
        last = [memory.port] if memory.port and memory.asked == self._asked else []
        wanted = range(self._asked, min(self._asked + PORTS, 65536)) if self._asked else [0] * 3
        for port in (*last, *wanted):
            free = _free_port(self._host, port)
            if free:
                yield free

    def _no_port(self) -> BrokerError:
        return BrokerError(
            f"No port from {self._asked} on is free at {self._host} for an MQTT broker.",
            cure="Set MQTT_EMBEDDED_PORT to a free one, and MQTT_EMBEDDED_BIND to an address of this machine.",
        )


def _free_port(host: str, port: int) -> int | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address.is_loopback if address else host == "localhost"


def _reachable(host: str) -> str:
    """Where we connect to ourselves: a wildcard address is no destination."""
    address = _address(host)
    if address is None or not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - IPv4
