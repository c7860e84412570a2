"""What Home Assistant may be offered: what MQTT commands, the policy and the token's privileges let pass."""

from collections.abc import Mapping

from mqtt_bridge.actions import ACTIONS, Privilege
from mqtt_bridge.homeassistant.entity import Does
from mqtt_bridge.homeassistant.thing import Thing
from mqtt_bridge.policy import Principal, judge
from mqtt_bridge.proxmox.permissions import Permissions, anywhere, holds
from mqtt_bridge.proxmox.privileges import alternatives
from mqtt_bridge.settings import PermissionSettings, allows
from mqtt_bridge.targets import Touched

MOVES = Does("migrate", "guest.migrate")


class May:
    """Asked for each command of each thing."""

    def __init__(self, permission: PermissionSettings) -> None:
        self._permission = permission
        self._principal = Principal("Home Assistant", "mqtt", permission.mqtt_allow)

    @property
    def commands(self) -> bool:
        """Whether any command is listened to."""
        return self._permission.mqtt_allow != "read"

    def do(self, does: Does, thing: Thing) -> bool:
        """Whether the settings let this be done to it (an approval may still be asked for)."""
        if not self.commands:
            return False
        if not does.action:
            return True
        return judge(self._permission, self._principal, ACTIONS[does.action], [Touched(thing.target)]) is None

    def evacuate(self, thing: Thing) -> bool:
        """Whether a maintenance of it moves its guests away."""
        return self._permission.maintenance_evacuate and self.do(MOVES, thing)

    @property
    def shut_down(self) -> bool:
        """Whether a whole site may be shut down."""
        return self._permission.site_shutdown and allows(self._permission.mqtt_allow, "destroy")

    def lacks(self, does: Does, thing: Thing, granted: Permissions) -> Privilege | None:
        """The privilege that the token lacks for it."""
        rights = ACTIONS[does.action].privileges if does.action else ()
        return next((right for right in rights if not _held(right, thing.key.ids, granted)), None)


def _held(right: Privilege, ids: Mapping[str, str], granted: Permissions) -> bool:
    path, _, rest = right.path.partition("{")
    if rest and (name := rest.rstrip("}")) in ids:
        return any(holds(granted, f"{path}{ids[name]}", each) for each in alternatives(right.name))
    return any(anywhere(granted, path.rstrip("/") or "/", each) for each in alternatives(right.name))
