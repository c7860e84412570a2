"""mosquitto as a child of ours: private configuration, users and ACL, persistence; it dies with us and is restarted.

It runs as the user that we are, also as root (`user root`): STATE_DIR is closed to every other user, so a mosquitto
that changed to its own could neither read its files nor save, and changing users would also undo the death signal.
"""

import asyncio
import base64
import getpass
import hashlib
import logging
import os
import secrets
import shutil
import signal
import sys
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mqtt_bridge.errors import BrokerError
from mqtt_bridge.secret import Secret
from mqtt_bridge.statedir import private_dir, write_private

log = logging.getLogger(__name__)

START_WITHIN = 10.0  # seconds
STOP_WITHIN = 1.0
AUTOSAVE = 10  # seconds; saving at each change rewrites the whole store every time: 92 publishes/s at 10 000 retained
MAX_PACKET = 1 << 20  # bytes
MAX_QUEUED = 100_000  # messages for one subscriber; the default of 1000 cuts a large retained tree short
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # Debian keeps it off an ordinary user's PATH
_AS_ROOT = "Warning: Mosquitto should not be run as root/administrator."

ORDERS = ("+/guest/+/command", "+/node/+/command", "+/datastore/+/command", "+/command")  # may hold secrets
COMMANDS = (*ORDERS, "+/notify")
# Who may do what: (role, access, topic); `{base}` is MQTT_BASE_TOPIC. `pattern` holds for every user.
_ACL: tuple[tuple[str, str, str], ...] = (
    ("bridge", "readwrite", "#"),
    ("bridge", "read", "$SYS/#"),
    ("reader", "read", "{base}/#"),
    *(("reader", "deny", f"{{base}}/{topic}") for topic in ORDERS),
    ("homeassistant", "read", "{base}/#"),
    ("homeassistant", "readwrite", "homeassistant/#"),
    *(("homeassistant", "write", f"{{base}}/{topic}") for topic in COMMANDS),
    ("automation", "read", "{base}/#"),
    *(("automation", "write", f"{{base}}/{topic}") for topic in COMMANDS),
    ("automation", "write", "{base}/+/triage/+"),
)
_PATTERN = "pattern write {base}/+/approval/+/decision/%u"
ROLES = tuple(dict.fromkeys(role for role, _, _ in _ACL))

_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class PortTakenError(BrokerError):
    """Somebody else was quicker: try another port."""


def find() -> str | None:
    """The path of mosquitto, if it is installed."""
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))


def password_line(user: str, password: Secret) -> str:
    """A line of a mosquitto 2 password file: PBKDF2-SHA512, as mosquitto_passwd writes it."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.reveal().encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def acl(base: str) -> str:
    """The ACL file for topics below `base`."""
    lines = [_PATTERN.format(base=base)]
    for role in ROLES:
        lines += ["", f"user {role}"]
        lines += [f"topic {access} {topic.format(base=base)}" for user, access, topic in _ACL if user == role]
    return "\n".join(lines) + "\n"


class MosquittoChild:
    """`async with` it: listening (address, port) once entered; raises BrokerError with what mosquitto said."""

    def __init__(
        self, binary: str, directory: Path, listen: tuple[str, int], users: Mapping[str, Secret], base: str
    ) -> None:
        self._binary = binary
        self._directory = directory
        self._host, self._port = listen
        self._users = users
        self._base = base
        self._process: Process | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        private_dir(self._directory)
        self._end_leftover()
        self._write_files()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="mosquitto")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        await self._stop()

    @property
    def _config(self) -> Path:
        return self._directory / "mosquitto.conf"

    @property
    def _pid_file(self) -> Path:
        return self._directory / "pid"

    def _write_files(self) -> None:
        here = self._directory
        write_private(here / "passwords", "".join(password_line(*item) for item in self._users.items()))
        write_private(here / "acl", acl(self._base))
        lines = (
            "# Written at each start by proxmox-mcp.",
            f"listener {self._port} {self._host}",
            f"user {getpass.getuser() if os.geteuid() else 'root'}",
            "allow_anonymous false",
            f"password_file {here / 'passwords'}",
            f"acl_file {here / 'acl'}",
            "persistence true",
            f"persistence_location {here}{os.sep}",
            f"autosave_interval {AUTOSAVE}",
            f"max_queued_messages {MAX_QUEUED}",
            f"max_packet_size {MAX_PACKET}",
            "log_dest stderr",
            "log_timestamp false",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "log_type information",
        )
        write_private(self._config, "\n".join(lines) + "\n")

    def _end_leftover(self) -> None:
        """A child of ours that outlived a crash, known by our own configuration file on its command line."""
        with suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text(encoding="ascii"))
            if str(self._config) in _command_line(pid):
                log.warning("Ending the mosquitto that an earlier run left behind (process %d)", pid)
                os.kill(pid, signal.SIGKILL)

    async def _start(self) -> None:
        command = [self._binary, "-c", str(self._config)]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
        self._said.clear()
        process = self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: we say goodbye first
        )
        write_private(self._pid_file, str(process.pid))
        running = asyncio.Event()
        listener = asyncio.create_task(self._listen(process, running), name="mosquitto's log")
        waiter = asyncio.create_task(running.wait())
        await asyncio.wait([listener, waiter], timeout=START_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if running.is_set():
            return
        if any("in use" in line for line in self._said):
            raise PortTakenError(f"Port {self._port} of {self._host} is taken.")
        raise BrokerError("mosquitto could not be started.", cure=f"It said: {self._last_words()}")

    async def _listen(self, process: Process, running: asyncio.Event) -> None:
        if process.stderr is None:
            raise RuntimeError("mosquitto was started without a pipe")
        async for raw in process.stderr:
            line = raw.decode(errors="replace").strip()
            self._said.append(line)
            bad = line.startswith(("Error", "Warning")) and line != _AS_ROOT
            log.log(logging.WARNING if bad else logging.DEBUG, "mosquitto: %s", line)
            if line.endswith("running"):
                running.set()

    def _last_words(self) -> str:
        return " | ".join(line for line in self._said if line and line != _AS_ROOT) or "nothing"

    async def _watch(self) -> None:
        delay = 0.1
        while True:
            if self._process:
                await self._process.wait()
                log.error(
                    "mosquitto ended by itself (%s); starting it again. It said: %s",
                    self._process.returncode,
                    self._last_words(),
                )
            try:
                await self._start()
                delay = 0.1
            except BrokerError as error:
                await self._stop()
                log.error("%s", error)  # noqa: TRY400 - the sentence says it all
                await asyncio.sleep(delay)
                delay = min(delay * 2, 10.0)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._pid_file.unlink(missing_ok=True)


def _command_line(pid: int) -> list[str]:
    proc = Path(f"/proc/{pid}/cmdline")
    return proc.read_bytes().decode(errors="replace").split("\0")
