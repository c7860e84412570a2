"""A real Dovecot on a free port of loopback, to be stopped, frozen and restarted; mail comes as a mailer brings it."""

import asyncio
import grp
import imaplib
import itertools
import os
import pwd
import shutil
import signal
import socket
import ssl
import tempfile
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from mqtt_bridge.listeners.imap_parse import encode_folder
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import EmailInSettings
from tests.support.https_host import free_port, make_certificate

USER, PASSWORD = "alerts@example.org", 'pass"wörd of the mailbox'
_number = itertools.count()

_CONFIG = """
base_dir = {run}
state_dir = {home}/state
log_path = {home}/log
auth_verbose = yes
protocols = imap
listen = 127.0.0.1
{users}
first_valid_uid = 0
first_valid_gid = 0
mail_location = maildir:{run}/mail:LAYOUT=fs
mail_uid = {user}
mail_gid = {group}
disable_plaintext_auth = no
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
mailbox_idle_check_interval = 1 secs
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {run}/passwd
}}
userdb {{
  driver = static
  args = home={run} allow_all_users=yes
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
{more}
"""


_ONE_USER = "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}"


def find() -> str | None:
    """The server's path; None where it is not installed."""
    return shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def needed() -> str:
    """The server's path, else the test is skipped, or fails where REQUIRE_DOVECOT says that it has to be there."""
    path = find()
    if path is None and (os.environ.get("REQUIRE_DOVECOT") or os.environ.get("CI")):
        pytest.fail("Dovecot is not installed, and REQUIRE_DOVECOT or CI is set: run scripts/install-dovecot")
    if path is None:
        pytest.skip("Dovecot is not installed: scripts/install-dovecot installs it where that is allowed")
    return path


@dataclass
class Dovecot:
    """`async with` it. `config` are further lines; the ports stay through restarts."""

    home: Path
    config: Sequence[str] = ()
    port: int = 0
    tls_port: int = 0
    process: Process | None = None
    run: Path = field(default_factory=Path)
    certificate: Path = field(default_factory=Path)

    async def __aenter__(self) -> Self:
        self.path = needed()
        self.home.mkdir(parents=True, exist_ok=True)
        self.certificate = make_certificate(self.home, "localhost", "127.0.0.1").path
        self.port, self.tls_port = free_port(), free_port()
        self.run = Path(tempfile.mkdtemp(prefix="dovecot-"))  # pytest's own folders are closed to its login processes
        self.run.chmod(0o755)
        self.mail.mkdir()
        self._give(self.mail)
        (self.run / "passwd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        shutil.rmtree(self.run, ignore_errors=True)

    @property
    def mail(self) -> Path:
        return self.run / "mail"

    def _give(self, path: Path) -> None:
        if os.getuid() == 0:
            shutil.chown(path, "nobody", pwd.getpwnam("nobody").pw_gid)

    async def start(self) -> None:
        file = self.home / "dovecot.conf"
        # root may be neither the owner of mail nor face the network; anybody else can only be themselves
        me = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        group = grp.getgrgid(me.pw_gid).gr_name
        users = "" if os.getuid() == 0 else _ONE_USER.format(user=me.pw_name, group=group)
        names = {"home": self.home, "run": self.run, "user": me.pw_name, "group": group, "users": users}
        ports = {"port": self.port, "tls_port": self.tls_port}
        file.write_text(
            _CONFIG.format(**names, **ports, certificate=self.certificate, more="\n".join(self.config)),
        )
        self.process = await asyncio.create_subprocess_exec(self.path, "-F", "-c", str(file), start_new_session=True)
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                if probe.recv(64).startswith(b"* OK"):
                    return
            if self.process.returncode is not None:
                break
            await asyncio.sleep(0.05)
        log = (self.home / "log").read_text() if (self.home / "log").exists() else ""
        raise RuntimeError(f"dovecot does not start: {log}")

    async def stop(self) -> None:
        """With all its sessions."""
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self.process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    def freeze(self, stop: bool = True) -> None:
        """Stop every process of it, so that lines stay open and silent, or let them go on."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGSTOP if stop else signal.SIGCONT)

    def settings(self, **changes: Any) -> EmailInSettings:
        values: dict[str, Any] = {
            "server": "127.0.0.1",
            "port": self.port,
            "username": USER,
            "password": Secret(PASSWORD),
            "security": "none",
        }
        return EmailInSettings(**values | changes)

    def deliver(self, mail: bytes, folder: str = "", *, arrived: float | None = None) -> None:
        """As a local mailer does: written aside, then renamed into place."""
        box = self.mail / encode_folder(folder)
        for part in (box, *(box / each for each in ("tmp", "new", "cur"))):
            if not part.exists():
                part.mkdir(parents=True)
                self._give(part)
        name = f"{next(_number):08d}.{os.getpid()}.test"
        (box / "tmp" / name).write_bytes(mail)
        if arrived is not None:
            os.utime(box / "tmp" / name, (arrived, arrived))
        self._give(box / "tmp" / name)
        (box / "tmp" / name).rename(box / "new" / name)

    def forget_uids(self, folder: str = "") -> None:
        """While it is stopped: at the next start the folder has another UIDVALIDITY and new UIDs."""
        for file in (self.mail / folder).glob("dovecot*"):
            file.unlink()
        for file in self.mail.glob("dovecot-uidvalidity*"):
            file.unlink()

    def client(self) -> imaplib.IMAP4:
        """Somebody else's mail program, logged in."""
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=10)
        client.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())
        return client

    def flags(self, folder: str = "INBOX") -> list[set[str]]:
        """Of every mail there, in order."""
        client = self.client()
        assert client.select(folder, readonly=True)[0] == "OK", folder
        _, found = client.uid("FETCH", "1:*", "(FLAGS)")
        client.logout()
        return [{flag.decode() for flag in imaplib.ParseFlags(each)} for each in found if isinstance(each, bytes)]


def trusting(dovecot: Dovecot) -> ssl.SSLContext:
    """A context that trusts its certificate."""
    return ssl.create_default_context(cafile=str(dovecot.certificate))
