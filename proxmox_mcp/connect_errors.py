"""Why a server that `stdio --connect` speaks to gives no answer, in words for whoever reads the client's log."""

import ssl
from typing import Any, Self

from mqtt_bridge.errors import BridgeError

CODE = -32000  # of JSON-RPC: the server's own errors begin here
_SHOWN = 200  # characters of what the server said
CURES = {
    401: "It does not know the token: set PROXMOX_MCP_TOKEN, or give --token-file, with one that it knows.",
    403: "It refuses where the request comes from (MCP_ALLOWED_ORIGINS there).",
    404: "There is no MCP at this path: it is usually /mcp.",
    405: "There is no MCP at this path: it is usually /mcp.",
    413: "The request is larger than it takes.",
    421: "It does not know the name under which it was reached: MCP_ALLOWED_HOSTS there must name it.",
    429: "This token has too many requests open there: wait, or close some.",
    503: "It is starting, or has too many sessions open.",
}


class ConnectionFailedError(BridgeError):
    """Base of the reasons. Its text becomes a JSON-RPC error."""

    reason = "failed"

    def answer(self, request: object) -> dict[str, Any]:
        """As the answer to a request."""
        return {
            "jsonrpc": "2.0",
            "id": request,
            "error": {"code": CODE, "message": str(self), "data": {"reason": self.reason}},
        }

    @classmethod
    def of(cls, url: str, status: int, text: str) -> Self:
        """From what the server answered; of its words only printable ones, and few."""
        words = "".join(c if c.isprintable() else " " for c in text[:_SHOWN]).strip()
        cure = CURES.get(status, f"It said: {words}" if words else "It gave no reason.")
        return cls(f"The server at {url} answered {status}.", cure=cure)


class AwayError(ConnectionFailedError):
    """Nothing of the request arrived, so it may be sent again."""

    reason = "away"


class BrokenError(ConnectionFailedError):
    """The request may have arrived: whether it was carried out is not known."""

    reason = "broken"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: whether it was carried out is not known.", cure="Look before you repeat it.")


class RefusedError(ConnectionFailedError):
    """The server does not want it; sending it again would not help."""

    reason = "refused"


class SessionGoneError(ConnectionFailedError):
    """The server does not know the session, so nothing was carried out."""

    reason = "session"


def unreachable(url: str, error: Exception) -> ConnectionFailedError:
    """From what went wrong on connecting. A certificate that is not trusted is not tried again."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return RefusedError(
                f"The certificate of {url} is not trusted ({found.verify_message}).",
                cure="Set MCP_CA_FILE to the CA that signed it, or to the certificate itself.",
            )
        found = found.__cause__ or found.__context__
    return AwayError(
        f"The server at {url} cannot be reached ({str(error) or type(error).__name__}).",
        cure="Start it (`proxmox-mcp serve`), or correct the URL of --connect.",
    )
