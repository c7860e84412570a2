"""Settings of approvals: who decides, how long, and over which ways."""

from dataclasses import dataclass
from typing import Literal

from mqtt_bridge.secret import Secret

WayName = Literal["email", "ntfy", "gotify", "apprise"]


@dataclass(frozen=True)
class Approver:
    """One person. `key` is the SHA-256 of the secret, in hex: it checks the secret, and keys proofs over MQTT.

    `ways` are where one-time codes for this person go, and nowhere else; `discord` is the user id whose buttons count.
    """

    name: str
    key: Secret
    discord: int | None = None
    ways: tuple[tuple[WayName, Secret], ...] = ()


@dataclass(frozen=True)
class ApprovalSettings:
    """`timeout` in seconds: how long an approval may be decided, and used."""

    timeout: float = 900
    approvers: tuple[Approver, ...] = ()
    mqtt: Literal["off", "proof", "broker"] = "off"
    elicitation: Literal["off", "stdio", "all"] = "stdio"

    def approver(self, name: str) -> Approver | None:
        """By name, in any case."""
        return next((each for each in self.approvers if each.name.casefold() == name.casefold()), None)
