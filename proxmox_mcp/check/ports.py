"""Whether a listener of ours can have its port; where it is taken, whether by us."""

from collections.abc import Sequence

from mqtt_bridge import statedir
from mqtt_bridge.listeners.sockets import CannotListenError, Place, Protocol, bind
from mqtt_bridge.settings import Settings
from proxmox_mcp.check.findings import Finding


async def check_place(settings: Settings, subject: str, place: Place, protocols: Sequence[Protocol]) -> Finding:
    """Binds for a moment. A bridge that runs with this STATE_DIR and listens there itself is no problem."""
    what = " and ".join(name.upper() for name in protocols)
    try:
        sockets = await bind(place, protocols)
    except CannotListenError as error:
        if "Another program" in error.message and statedir.local_owner(settings.general.state_dir):
            detail = f"{place.text} is in use, as it should be by the bridge that runs with this STATE_DIR"
            return Finding(subject, what, None, detail)
        return Finding(subject, what, False, error.message, error.cure)
    for each in sockets:
        each.close()
    return Finding(subject, what, True, f"{place.text} can be listened on")
