"""One root class. Every message is one sentence of what is wrong; `cure` says what to do about it.

Vendor errors (requests, proxmoxer, paho, sqlite) become one of these once, at the edge, chained with `from`.
Neither text ever holds a secret: both reach logs, MQTT and AI agents.
"""


class BridgeError(Exception):
    """Anything this project raises on purpose."""

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message} {self.cure}".strip()


class SettingsError(BridgeError):
    """Every problem of the settings in one report, each naming its key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StateDirBusyError(BridgeError):
    """Another process owns STATE_DIR."""


# --- Proxmox ---------------------------------------------------------------------------------------------------------


class ProxmoxError(BridgeError):
    """An answer, or the lack of one, from a Proxmox API. `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, *, cure: str = "", status: int = 0, host: str = "") -> None:
        super().__init__(message, cure=cure)
        self.status = status
        self.host = host


class UnreachableError(ProxmoxError):
    """No answer: DNS, TCP, a time-out, a node that is down (595, 596), or every host's breaker is open."""


class TlsError(UnreachableError):
    """The certificate is not trusted, or is not the pinned one. `fingerprint` is what the host showed, if known."""

    def __init__(self, message: str, *, cure: str = "", host: str = "", fingerprint: str = "") -> None:
        super().__init__(message, cure=cure, host=host)
        self.fingerprint = fingerprint


class UnauthorizedError(ProxmoxError):
    """401: the token is wrong, expired or disabled."""


class ForbiddenError(ProxmoxError):
    """403: the token is good but lacks `privilege` on `path` (both as Proxmox names them)."""

    def __init__(self, message: str, *, cure: str = "", host: str = "", path: str = "", privilege: str = "") -> None:
        super().__init__(message, cure=cure, status=403, host=host)
        self.path = path
        self.privilege = privilege


class NotFoundError(ProxmoxError):
    """Proxmox says that the guest, node, storage or task does not exist."""


class RejectedError(ProxmoxError):
    """Proxmox understood and refused: wrong parameters (400, `fields` says which), locked, running, 500 with a text."""

    def __init__(
        self, message: str, *, cure: str = "", status: int = 0, host: str = "", fields: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, cure=cure, status=status, host=host)
        self.fields = fields or {}


class ProtocolError(ProxmoxError):
    """Something answered, but not a Proxmox API (HTML, another product, broken JSON)."""


class RateLimitedError(ProxmoxError):
    """Our own limit for this host is used up until the deadline (PROXMOX_RATE_LIMIT)."""


# --- MQTT ------------------------------------------------------------------------------------------------------------


class BrokerError(BridgeError):
    """The MQTT broker."""


class BrokerUnreachableError(BrokerError):
    """No connection: DNS, TCP, TLS, or lost meanwhile."""


class BrokerRefusedError(BrokerError):
    """The broker refused the connection, a subscription or a publish; `reason` is its reason code's name."""

    def __init__(self, message: str, *, cure: str = "", reason: str = "") -> None:
        super().__init__(message, cure=cure)
        self.reason = reason


# --- what callers ask for --------------------------------------------------------------------------------------------


class UnknownTargetError(BridgeError):
    """No such site, node, guest, storage or task; `candidates` are near or possible ones."""

    def __init__(self, message: str, *, cure: str = "", candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message, cure=cure)
        self.candidates = candidates


class PolicyError(BridgeError):
    """Refused by our own rules; `setting` is what would allow it."""

    def __init__(self, message: str, *, cure: str = "", setting: str = "") -> None:
        super().__init__(message, cure=cure)
        self.setting = setting
