"""Every setting, once: one table, from which loading, `.env.example` and `docs/configuration.md` are made."""

from mqtt_bridge.settings.describe import Described, describe
from mqtt_bridge.settings.loader import load
from mqtt_bridge.settings.local import is_loopback
from mqtt_bridge.settings.types import (
    LEVELS,
    ApiSettings,
    Endpoint,
    GeneralSettings,
    Kind,
    Level,
    Limits,
    McpSettings,
    MqttSettings,
    NamedToken,
    PermissionSettings,
    Settings,
    SiteSettings,
    allows,
    default_state_dir,
)

__all__ = [
    "LEVELS",
    "ApiSettings",
    "Described",
    "Endpoint",
    "GeneralSettings",
    "Kind",
    "Level",
    "Limits",
    "McpSettings",
    "MqttSettings",
    "NamedToken",
    "PermissionSettings",
    "Settings",
    "SiteSettings",
    "allows",
    "default_state_dir",
    "describe",
    "is_loopback",
    "load",
]
