"""What the tests of `check` share: the findings by host and step, settings for a host, a running Mosquitto."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxmox_mcp.check import Finding
from tests.support.https_host import Certificate, HttpsHost

PASSWORD = "pw-of-the-bridge"


@dataclass
class Checked:
    """Findings by the subject's beginning and the step."""

    findings: list[Finding]

    def one(self, subject: str, what: str) -> Finding:
        (found,) = self.all(subject, what)
        return found

    def all(self, subject: str, what: str) -> list[Finding]:
        return [f for f in self.findings if f.subject.startswith(subject) and f.what == what]

    @property
    def failed(self) -> list[str]:
        return [f"{f.subject.split(' (')[0]} {f.what}" for f in self.findings if f.ok is False]


def short(port: int, certificate: Certificate | None = None, **more: str) -> dict[str, str]:
    """The short form for a host on loopback, trusting `certificate`."""
    trust = {"PROXMOX_CA_FILE": str(certificate.path)} if certificate else {}
    return {
        "PROXMOX_HOST": f"127.0.0.1:{port}",
        "PROXMOX_USER": "mcp@pve",
        "PROXMOX_TOKEN_NAME": "mcp",
        "PROXMOX_TOKEN_VALUE": "5ec2e7-of-the-token",
        **trust,
        **more,
    }


@dataclass
class Mosquitto:
    """A running Mosquitto; `environ` are the settings that log in."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(self.port),
            "MQTT_USERNAME": "bridge",
            "MQTT_PASSWORD": PASSWORD,
        }


def wait_for(port: int) -> None:
    """Until something listens."""
    for _ in range(250):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.05):
            return
        time.sleep(0.02)
    raise AssertionError("Mosquitto does not listen")


Check = Callable[..., Awaitable[Checked]]
StartBroker = Callable[..., Mosquitto]
StartHost = Callable[..., Awaitable[HttpsHost]]
