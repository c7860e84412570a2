"""What can go wrong with a mailbox. No text of these holds the password."""

from mqtt_bridge.errors import BridgeError


class ImapError(BridgeError):
    """The mail server."""


class ImapLostError(ImapError):
    """No connection: DNS, TCP, TLS, silence, something that is no IMAP, or closed by the server."""


class ImapLoginError(ImapError):
    """User or password were refused. Trying again soon can lock the account."""


class ImapRefusedError(ImapError):
    """NO or BAD to one command; the connection goes on. `code` is the response code, e.g. TRYCREATE."""

    def __init__(self, message: str, *, cure: str = "", code: str = "") -> None:
        super().__init__(message, cure=cure)
        self.code = code
