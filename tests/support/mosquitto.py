"""A real Mosquitto on a free port of loopback, to be stopped, killed, frozen and restarted at will."""

import asyncio
import getpass
import signal
from asyncio.subprocess import Process
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.mqtt.embedded_mosquitto import find, password_line
from mqtt_bridge.secret import Secret
from tests.support import https_host


def free_port() -> int:
    return https_host.free_port()


@dataclass
class Mosquitto:
    """`async with` it. With `users` a login is required; `acl` is the text of an ACL file; `config` further lines.

    `listener` are lines that belong to the one listener (protocol, certificates). `port` stays through restarts.
    """

    directory: Path
    users: dict[str, str] = field(default_factory=dict)
    acl: str | None = None
    persistence: bool = False
    config: Sequence[str] = ()
    listener: Sequence[str] = ()
    port: int = 0
    process: Process | None = None

    @property
    def options(self) -> BrokerOptions:
        """For the first user, or for nobody."""
        options = BrokerOptions("127.0.0.1", self.port)
        return self.options_for(next(iter(self.users))) if self.users else options

    def options_for(self, user: str) -> BrokerOptions:
        return replace(BrokerOptions("127.0.0.1", self.port), username=user, password=Secret(self.users[user]))

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            self.port = free_port()
            if await self._spawn():
                return self
        raise RuntimeError(f"mosquitto does not start: {self.log}")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        """Again, on the same port."""
        if not await self._spawn():
            raise RuntimeError(f"mosquitto does not start: {self.log}")

    async def stop(self) -> None:
        """An orderly end (SIGTERM), which saves what is persistent."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """It keeps its connections and says nothing more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    async def _spawn(self) -> bool:
        binary = find()
        if binary is None:
            raise RuntimeError("The tests need mosquitto: apt-get install mosquitto, or brew install mosquitto.")
        with (self.directory / "log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(binary, "-c", str(self._configure()), stderr=log)
        while self.process.returncode is None:
            if "running" in self.log:
                return True
            await asyncio.sleep(0.01)
        return False

    def _configure(self) -> Path:
        here = self.directory
        lines = [f"listener {self.port} 127.0.0.1", *self.listener, f"user {getpass.getuser()}", "log_dest stderr"]
        lines.append(f"allow_anonymous {'false' if self.users else 'true'}")
        if self.users:
            hashed = "".join(password_line(user, Secret(password)) for user, password in self.users.items())
            (here / "passwords").write_text(hashed, encoding="ascii")
            lines.append(f"password_file {here / 'passwords'}")
        if self.acl is not None:
            (here / "acl").write_text(self.acl, encoding="utf-8")
            lines.append(f"acl_file {here / 'acl'}")
        if self.persistence:
            lines += ["persistence true", f"persistence_location {here}/", "autosave_interval 1"]
        config = here / "mosquitto.conf"
        config.write_text("\n".join([*lines, *self.config, ""]), encoding="utf-8")
        return config

    def _signal(self, number: signal.Signals) -> None:
        if self.process and self.process.returncode is None:
            self.process.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        if self.process:
            await self.process.wait()
