"""Which other processes tell people of a site: the bridges, and the notifiers that run in a process of their own.

Each answers a request for itself. So that a requester knows for whom to wait, and is not told "not enabled" of a
channel that another process runs, they know of each other by what each says of itself on MQTT.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from mqtt_bridge.model import BridgeInfo
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.topics import Parsed

T = TypeVar("T")

MOST = 50  # processes that are remembered
LARGEST = 256 * 1024  # bytes of an info


@dataclass
class Peers:
    """`own` is the name of this process."""

    own: str
    _infos: OrderedDict[str, BridgeInfo] = field(default_factory=OrderedDict)
    _online: OrderedDict[str, bool] = field(default_factory=OrderedDict)

    def take(self, parsed: Parsed, message: Message) -> None:
        """What a process says of itself: `bridge_info` or `bridge_state`."""
        name = parsed.ids["bridge"]
        if name == self.own:
            return
        if parsed.kind.name == "bridge_state":
            _keep(self._online, name, message.payload == b"online")
        elif not message.payload:
            self._infos.pop(name, None)
        elif len(message.payload) <= LARGEST:
            try:
                _keep(self._infos, name, BridgeInfo.model_validate_json(message.payload))
            except ValidationError:
                self._infos.pop(name, None)

    def of(self, site: str) -> dict[str, dict[str, str]]:
        """Those online that tell people of this site, with the names of their notifiers by the same in lower case."""
        return {
            name: {one.casefold(): one for one in info.notifiers}
            for name, info in sorted(self._infos.items())
            if self._online.get(name) and info.notifiers and (site in info.sites or not info.sites)
        }


def _keep(kept: OrderedDict[str, T], name: str, value: T) -> None:
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > MOST:
        kept.popitem(last=False)
