"""Home Assistant: entries of HA_ENTITIES that can never fit."""

from mqtt_bridge.homeassistant.chosen import Chosen
from mqtt_bridge.settings import Settings
from proxmox_mcp.check.findings import Finding

SUBJECT = "Home Assistant"


async def check_homeassistant(settings: Settings, limit: float) -> list[Finding]:
    """Nothing is said where nothing is wrong."""
    del limit
    chosen = settings.homeassistant
    entries = Chosen(chosen.entities).idle() if chosen.discovery else []
    return [Finding(SUBJECT, "entities", None, sentence) for sentence in entries]
