from collections.abc import Mapping

import pytest

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.settings import Settings, load

HOST: Mapping[str, str] = {
    "PROXMOX_HOST": "192.0.2.1",
    "PROXMOX_USER": "a@pve",
    "PROXMOX_TOKEN_NAME": "t",
    "PROXMOX_TOKEN_VALUE": "12345678-1234-1234-1234-123456789abc",
}


def loaded(**more: str) -> Settings:
    return load({**HOST, **more}, search=False)


def test_on_by_default() -> None:
    found = loaded().homeassistant
    assert (found.discovery, found.prefix, found.entities) == (True, "homeassistant", ())


def test_as_written() -> None:
    found = loaded(HA_DISCOVERY="no", HA_DISCOVERY_PREFIX="ha", HA_ENTITIES="guest/ip, !storage/*,node/pve-1/lo*")
    assert not found.homeassistant.discovery
    assert found.homeassistant.prefix == "ha"
    assert found.homeassistant.entities == ("guest/ip", "!storage/*", "node/pve-1/lo*")
    assert not found.unavailable


@pytest.mark.parametrize("text", ["cpu", "guest/100/cpu/x", "!", "Guest/cpu", "guest/CPU"])
def test_what_names_no_entity(text: str) -> None:
    with pytest.raises(SettingsError, match="HA_ENTITIES entry 2"):
        loaded(HA_ENTITIES=f"guest/ip,{text}")
