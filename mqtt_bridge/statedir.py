"""STATE_DIR: one owner at a time, private files, and which broker others of the same STATE_DIR are to use."""

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mqtt_bridge.errors import BridgeError, StateDirBusyError
from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import MqttSettings

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ENDPOINT = "endpoint.json"
INSTANCE = "instance"
_SMALL = 64 * 1024
_LOOKS, _LOOK = 4, 0.05  # how often the lock is tried again, after so many seconds
_TOLD = ("host", "port", "username", "tls", "transport", "protocol")  # of BrokerOptions, in ENDPOINT
_TOLD_FILES = ("ca_file", "cert_file", "key_file")


def private_dir(path: Path) -> Path:
    """Create it (0700) if need be; says what is wrong where that cannot be done."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BridgeError(
            f"STATE_DIR {path} cannot be created: {error.strerror}.", cure="Set STATE_DIR to a folder you may write to."
        ) from error
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _lock_file(folder: Path) -> IO[str]:
    """Open the file that is locked; raises BridgeError where the folder cannot be written."""
    path = folder / "lock"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise BridgeError(
            f"STATE_DIR {folder} cannot be written: {error.strerror}.",
            cure="Set STATE_DIR to a folder you may write to.",
        ) from error


class StateDir:
    """`async with` it to own the folder. The lock dies with the process, so there is none to clean up by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    async def __aenter__(self) -> Self:
        private_dir(self.path)
        lock = _lock_file(self.path)
        try:
            await _lock_patiently(lock)
        except OSError as error:
            lock.seek(0)
            owner = lock.read(_SMALL).strip()
            lock.close()
            raise StateDirBusyError(
                f"Another proxmox-mcp bridge{f' (process {owner})' if owner else ''} uses {self.path}.",
                cure="Stop it first, or give this one its own STATE_DIR.",
            ) from error
        with suppress(OSError):
            (self.path / ENDPOINT).unlink(
                missing_ok=True
            )  # a crash left it: it must not be believed for our lock's sake
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            (self.path / ENDPOINT).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def swap_instance(self, instance: str) -> str:
        """Note this run's id; returns the previous run's, whose traces on MQTT are our own."""
        path = self.path / INSTANCE
        previous = path.read_text(encoding="utf-8")[:64] if path.exists() else ""
        write_private(path, instance)
        return previous

    def tell(self, options: BrokerOptions, base_topic: str) -> None:
        """Let `stdio` and `http` with the same STATE_DIR find the broker."""
        write_private(
            self.path / ENDPOINT,
            json.dumps(
                {
                    "pid": os.getpid(),
                    "password": options.password.reveal() if options.password else None,
                    "base_topic": base_topic,
                    **{name: getattr(options, name) for name in _TOLD},
                    **{name: str(path) for name in _TOLD_FILES if (path := getattr(options, name))},
                }
            ),
        )


def broker_options(mqtt: MqttSettings) -> BrokerOptions | None:
    """The configured broker; None where we bring our own."""
    if not mqtt.host:
        return None
    return BrokerOptions(
        host=mqtt.host,
        port=mqtt.port,
        username=mqtt.username,
        password=mqtt.password,
        tls=mqtt.tls,
        ca_file=mqtt.ca_file,
        cert_file=mqtt.cert_file,
        key_file=mqtt.key_file,
        transport=mqtt.transport,
        protocol=mqtt.protocol,
        client_id=mqtt.client_id,
    )


@dataclass(frozen=True)
class LocalOwner:
    """The broker of the bridge that owns a STATE_DIR."""

    options: BrokerOptions
    base_topic: str


def local_owner(path: Path) -> LocalOwner | None:
    """The live owner of this STATE_DIR, if there is one; a file that a crash left behind is not believed."""
    try:
        with (path / "lock").open("r+", encoding="utf-8") as lock:
            try:
                _lock(lock)
            except OSError:
                pass
            else:
                return None
        told: dict[str, Any] = json.loads((path / ENDPOINT).read_text(encoding="utf-8"))
        password = told.get("password")
        files: dict[str, Any] = {name: Path(told[name]) for name in _TOLD_FILES if name in told}
        options = BrokerOptions(
            password=Secret(password) if password else None,
            **{name: told[name] for name in _TOLD},
            **files,
        )
        return LocalOwner(options, str(told["base_topic"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def _lock_patiently(file: IO[str]) -> None:
    """`local_owner` of another process holds the lock for a moment to see whether anybody does."""
    for _ in range(_LOOKS):
        with suppress(OSError):
            return _lock(file)
        await asyncio.sleep(_LOOK)
    return _lock(file)


def _lock(file: IO[str]) -> None:
    if sys.platform == "win32":
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def held(path: Path) -> IO[str] | None:
    """The file, open and locked until it is closed or this process ends; None while another process holds it."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    file = path.open("r+", encoding="utf-8")
    try:
        _lock(file)
    except OSError:
        file.close()
        return None
    return file
