"""Moves the running guests of a node away while it is in maintenance, where MAINTENANCE_EVACUATE allows it.

`places` is what Proxmox says at this moment and who fits where; `book` what survives a restart of ours; `moving`
chooses for one guest and migrates it by the one entry for actions, `evacuation` takes one guest after the other.
"""

from mqtt_bridge.evacuation.evacuation import Evacuation
from mqtt_bridge.evacuation.moving import Around

__all__ = ["Around", "Evacuation"]
