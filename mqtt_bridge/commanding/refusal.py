"""Why a command is not carried out."""

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import RefusalCode


class CommandError(BridgeError):
    """Nothing was sent to Proxmox. `identity`: the command's id, where that could be read."""

    def __init__(self, message: str, code: RefusalCode, *, cure: str = "", identity: str | None = None) -> None:
        super().__init__(message, cure=cure)
        self.code = code
        self.identity = identity
