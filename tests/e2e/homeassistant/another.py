"""Something else in the house that is on MQTT: a UPS, a thing with updates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.homeassistant.conftest import House


@asynccontextmanager
async def device(house: House, name: str, **components: dict[str, Any]) -> AsyncIterator[None]:
    """Something else in the house, also over MQTT; it may be away (`<name>/here`)."""
    hass = house.hass
    cmps = {
        key: {"uniq_id": f"{name}_{key}", "def_ent_id": f"{one['p']}.{name}_{key}", "avty_t": f"{name}/here",
              "stat_t": f"{name}/{key}", "name": key.title(), **one}
        for key, one in components.items()
    }  # fmt: skip
    config = {"dev": {"ids": [name], "name": name}, "o": {"name": "tests"}, "cmps": cmps}
    await hass.call(hass.ha.publish, f"{name}/here", "online", retain=True)
    await hass.call(hass.ha.publish, f"homeassistant/device/{name}/config", config, retain=True)
    try:
        yield
    finally:
        await hass.call(hass.ha.publish, f"homeassistant/device/{name}/config", None, retain=True)
        for key in ("here", *components):
            await hass.call(hass.ha.publish, f"{name}/{key}", None, retain=True)
