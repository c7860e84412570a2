"""Every setting, once: one table, from which loading, `.env.example` and `docs/configuration.md` are made."""

from mqtt_bridge.settings.types import (
    LEVELS,
    ApiSettings,
    Endpoint,
    GeneralSettings,
    Kind,
    Level,
    McpSettings,
    MqttSettings,
    PermissionSettings,
    Settings,
    SiteSettings,
    allows,
    default_state_dir,
)

__all__ = [
    "LEVELS",
    "ApiSettings",
    "Endpoint",
    "GeneralSettings",
    "Kind",
    "Level",
    "McpSettings",
    "MqttSettings",
    "PermissionSettings",
    "Settings",
    "SiteSettings",
    "allows",
    "default_state_dir",
]
