"""What a text of Proxmox means, however it reached us."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from mqtt_bridge.severity import Severity

Channel = Literal["email", "zed", "smartd", "gotify", "webhook", "syslog", "task", "clusterlog", "discord"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`node` is the affected node as a short host name, `guest` a VMID; None where the text does not say.

    `ok` is None where nothing was tried. `guests` are the guests of one job with their outcome. `at` is the time that
    the text tells, in Unix seconds; None where it tells none or no year. `title` is one line, `message` what a person
    wants to read of it; both are cleaned and capped, and both are data. `fields` are further facts by name.
    """

    kind: str
    severity: Severity
    node: str | None = None
    guest: int | None = None
    ok: bool | None = None
    title: str = ""
    message: str = ""
    at: float | None = None
    guests: tuple[tuple[int, bool | None], ...] = ()
    job: str | None = None
    upid: str | None = None
    fields: dict[str, str | int | float | bool | None] = field(default_factory=dict)
