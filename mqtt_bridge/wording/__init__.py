"""Pure tables: what the texts of Proxmox mean. `classify` never fails: what no rule knows is still an event."""

from mqtt_bridge.wording.verdict import CHANNELS, Channel, Verdict

__all__ = ["CHANNELS", "Channel", "Verdict"]
