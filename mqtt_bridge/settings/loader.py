"""From what is written to Settings, with every mistake in one report."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import sites, unused
from mqtt_bridge.settings.approval_rows import approving
from mqtt_bridge.settings.assemble import listening
from mqtt_bridge.settings.assemble_notify import notifying, own_webhooks
from mqtt_bridge.settings.rules import RULES
from mqtt_bridge.settings.sources import Report, Sources, collect
from mqtt_bridge.settings.table import FIXED, ROWS, TOOLSETS
from mqtt_bridge.settings.types import (
    ApiSettings,
    GeneralSettings,
    HomeAssistantSettings,
    Level,
    McpSettings,
    MqttSettings,
    PermissionSettings,
    Settings,
)

NOTHING = """No Proxmox host is configured. Write these lines into a file named .env in this folder:
  PROXMOX_HOST=192.0.2.10
  PROXMOX_USER=proxmox-mcp@pve
  PROXMOX_TOKEN_NAME=mqtt
  PROXMOX_TOKEN_VALUE=xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx
  #PROXMOX_FINGERPRINT=… for a self-signed certificate: `proxmox-mcp check` shows this line
Then run `proxmox-mcp check`. To try everything without Proxmox: `proxmox-mcp demo`."""


def load(
    environ: Mapping[str, str],
    env_file: Path | None = None,
    *,
    search: bool = True,
    overrides: Mapping[str, str] | None = None,
    hosts: bool = True,
) -> Settings:
    """Read, check and assemble everything. Raises SettingsError with every problem; its text holds no secret.

    `env_file` is read instead of looking for `.env` here and in up to five parents; `search=False` reads none.
    `overrides` win over everything. `hosts=False`: for what asks no Proxmox host, so that none need be configured.
    """
    report = Report()
    sources = collect(report, environ, env_file, search=search, overrides=overrides)
    names = sites.Names(sources, report)
    names.register()
    for row in FIXED:
        sources.value(row)
    verify = sources.value(ROWS["VERIFY_SSL"]) is not False
    found = sites.build(sources, report, names, verify=verify)
    unused.unknown_keys(sources, names.prefixes, report)
    for rule in RULES:
        rule(sources, report)
    if hosts and not found and not report.problems:
        report.problems += [*report.warnings, NOTHING]
    if report.problems:
        raise SettingsError([sources.scrub(line) for line in report.problems])
    warnings = tuple(sources.scrub(line) for line in report.warnings)
    return replace(
        _assemble(sources),
        sites=found,
        unavailable=unused.unavailable(sources),
        warnings=warnings,
        env_file=sources.env_file,
    )


def _assemble(sources: Sources) -> Settings:
    sections = ("general", "api", "permission", "mqtt", "mcp", "homeassistant")
    fields: dict[str, dict[str, Any]] = {section: {} for section in sections}
    events, listen = listening(sources)
    notify, out = notifying(sources)
    listen = replace(listen, discord=replace(listen.discord, own_webhooks=own_webhooks(out)))
    for row in FIXED:
        section, _, name = row.into.partition(".")
        if section in fields and (value := sources.value(row)) is not None:
            fields[section][name] = Secret(value) if row.secret else value
    permission: dict[str, Any] = {
        key: value if isinstance(value, str | bool) else frozenset(value) for key, value in fields["permission"].items()
    }
    mqtt = fields["mqtt"]
    host, port = sources.value(ROWS["MQTT_HOST"]) or (None, None)
    mqtt |= {"host": host, "port": sources.value(ROWS["MQTT_PORT"]) or port or (8883 if mqtt["tls"] else 1883)}
    toolsets = set(sources.value(ROWS["MCP_TOOLSETS"]))
    return Settings(
        general=GeneralSettings(**fields["general"]),
        api=ApiSettings(**fields["api"]),
        permission=PermissionSettings(mcp_allow=_mcp_allow(sources), mqtt_allow=_mqtt_allow(sources), **permission),
        approval=approving(sources),
        mqtt=MqttSettings(**mqtt),
        mcp=McpSettings(toolsets=frozenset(TOOLSETS if "all" in toolsets else toolsets), **fields["mcp"]),
        events=events,
        listen=listen,
        notify=notify,
        out=out,
        homeassistant=HomeAssistantSettings(**fields["homeassistant"]),
    )


def _mcp_allow(sources: Sources) -> Level:
    level: Level = sources.value(ROWS["MCP_ALLOW"])
    return "exec" if sources.value(ROWS["PROXMOX_ALLOW_ELEVATED"]) else level


def _mqtt_allow(sources: Sources) -> Level:
    level: Level = sources.value(ROWS["MQTT_ALLOW"])
    return "operate" if level == "read" and sources.value(ROWS["MQTT_COMMANDS"]) else level
