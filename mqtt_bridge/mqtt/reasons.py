"""Why a connection to the broker failed: vendor errors and reason codes become ours, with the setting that cures."""

import socket
import ssl

from mqtt_bridge.errors import BrokerError, BrokerRefusedError, BrokerUnreachableError

WRONG_VERSION = "Unsupported protocol version"
NO_ANSWER = "Closed without an answer"

_LOGIN = ("did not accept the user name or password", "Check MQTT_USERNAME and MQTT_PASSWORD.")
_REFUSED: dict[str, tuple[str, str]] = {
    "Bad user name or password": _LOGIN,
    "Not authorized": _LOGIN,
    "Bad authentication method": ("wants another way to log in", "Only user name and password are supported."),
    "Client identifier not valid": ("does not accept the client id", "Set another MQTT_CLIENT_ID, or none."),
    WRONG_VERSION: ("does not speak this version of MQTT", "Set MQTT_PROTOCOL=auto."),
    NO_ANSWER: (
        "closed the connection before answering",
        "Check that MQTT_PORT is an MQTT port, and whether it wants MQTT_TLS=true or MQTT_TRANSPORT=websockets.",
    ),
    "Banned": ("has banned this client", "Ask whoever runs the broker."),
    "Server busy": ("is busy", "It is tried again."),
    "Server unavailable": ("is not available", "It is tried again."),
    "Connection rate exceeded": ("sees too many connections", "It is tried again, more slowly."),
}
_TLS_PORT = "Check MQTT_PORT (8883 is usual for TLS), or set MQTT_TLS=false if the broker has no TLS."
_HOST = "Check MQTT_HOST and MQTT_PORT, that the broker runs, and firewalls on the way."
_NETWORK: tuple[tuple[type[Exception], str, str], ...] = (  # the first that fits: subclasses stand before their parents
    (socket.gaierror, "The name of the MQTT broker at {address} is not known", "Check MQTT_HOST and DNS."),
    (UnicodeError, "The name of the MQTT broker at {address} is not valid", "Check MQTT_HOST."),
    (
        ssl.SSLCertVerificationError,
        "The certificate of the MQTT broker at {address} is not trusted",
        "Set MQTT_CA_FILE to the certificate of its CA, and MQTT_HOST to a name that its certificate has.",
    ),
    (ssl.SSLError, "There is no TLS with the MQTT broker at {address}", _TLS_PORT),
    (ConnectionRefusedError, "No MQTT broker listens at {address}", _HOST),
    (TimeoutError, "There is no answer from the MQTT broker at {address}", _HOST),
    (ConnectionResetError, "The connection to the MQTT broker at {address} was cut while it was made", _TLS_PORT),
    (
        ConnectionError,
        "{address} answers, but not as an MQTT broker",
        "Check MQTT_PORT, and whether it wants MQTT_TRANSPORT=tcp or websockets.",
    ),
    (Exception, "There is no connection to the MQTT broker at {address}", _HOST),
)


def refused(address: str, reason: str) -> BrokerRefusedError:
    """The broker answered CONNECT with `reason`, a reason code's name as paho spells it."""
    text, cure = _REFUSED.get(reason, ("refused the connection", "Ask whoever runs the broker."))
    return BrokerRefusedError(f"The MQTT broker at {address} {text} ({reason}).", cure=cure, reason=reason)


class SilentBrokerError(BrokerUnreachableError):
    """It took the connection and said nothing: frozen, no MQTT, or one that does not know this version of it."""


def silent(address: str) -> SilentBrokerError:
    """TCP works, MQTT does not: frozen, overloaded, or no MQTT broker at all."""
    return SilentBrokerError(
        f"{address} accepts connections but does not answer as an MQTT broker.",
        cure="Check that the broker is not frozen, and MQTT_HOST, MQTT_PORT and MQTT_TLS.",
    )


def unacknowledged(address: str) -> BrokerUnreachableError:
    """A publish was never acknowledged: it is not known whether it arrived."""
    return BrokerUnreachableError(
        f"The MQTT broker at {address} does not acknowledge what is published.", cure="It is sent again."
    )


def lost(address: str, reason: str, *, by_broker: bool) -> BrokerUnreachableError:
    """The end of a connection that was up."""
    if by_broker:
        text = f"The MQTT broker at {address} ended the connection ({reason})."
    elif reason == "Keep alive timeout":
        text = f"The MQTT broker at {address} stopped answering."
    else:
        text = f"The connection to the MQTT broker at {address} was lost."
    return BrokerUnreachableError(text, cure="It is tried again.")


def from_exception(address: str, error: Exception) -> BrokerError:
    """What the operating system, OpenSSL or a websocket handshake said when the connection was made."""
    text, cure = next((text, cure) for kind, text, cure in _NETWORK if isinstance(error, kind))
    detail = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return BrokerUnreachableError(f"{text.format(address=address)} ({detail}).", cure=cure)
