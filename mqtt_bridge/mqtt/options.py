"""Where the MQTT broker is, who we are there, and the TLS that leads to it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mqtt_bridge.errors import BrokerUnreachableError
from mqtt_bridge.secret import Secret

Version = Literal["5", "3.1.1"]


@dataclass(frozen=True)
class BrokerOptions:
    """Where the broker is and who we are. `keepalive` (s): a frozen broker is noticed after at most twice that."""

    host: str
    port: int = 1883
    username: str | None = None
    password: Secret | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    transport: Literal["tcp", "websockets"] = "tcp"
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    client_id: str | None = None
    keepalive: int = 4

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Will:
    """What the broker publishes when this connection is lost without a goodbye."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True)
class Session:
    """One that the broker keeps while we are away: QoS 1 messages wait there, and each waits for `acknowledge`.

    `client_id` names it: two connections of one name evict each other for ever. `expiry` (s) is how long the broker
    keeps it (MQTT 5; before that, as long as its configuration says).
    """

    client_id: str
    expiry: int = 7 * 86400


def tls_context(options: BrokerOptions) -> ssl.SSLContext:
    """Verifies the broker; raises BrokerUnreachableError for files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:
        raise BrokerUnreachableError(
            f"The CA file {options.ca_file} cannot be used.", cure="Check MQTT_CA_FILE."
        ) from error
    if options.cert_file:
        try:
            context.load_cert_chain(options.cert_file, options.key_file, password="")  # never ask on a terminal
        except OSError as error:
            raise BrokerUnreachableError(
                f"The client certificate {options.cert_file} cannot be used.",
                cure="Check MQTT_CERT_FILE and MQTT_KEY_FILE; the key must have no passphrase.",
            ) from error
    return context
