from collections.abc import Callable
from pathlib import Path

import pytest

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.settings import Settings, load
from mqtt_bridge.settings.later import LATER

EnvFile = Callable[[str], Path]
Loader = Callable[..., Settings]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("PROXMOX_HOTS=x", "PROXMOX_HOTS is no setting: did you mean PROXMOX_HOST?"),
        ("PROXMOX_VERIFY_SSL=no", "PROXMOX_VERIFY_SSL is no setting: did you mean PROXMOX_VERIFY_TLS?"),
        ("mqtt_host=x", "mqtt_host is no setting: did you mean MQTT_HOST?"),
        ("EVENT_SYSLOG_ENABLE=1", "EVENT_SYSLOG_ENABLE is no setting: did you mean EVENT_SYSLOG_ENABLED?"),
        ("MCP_ZZZ=1", "MCP_ZZZ is no setting: docs/configuration.md lists them all."),
        ("PVE_NODE_OTHER_HOST=h", "PVE_NODE_OTHER_HOST is no setting: it names no node of PVE_NODES."),
        ("PVE_NODE=pve1", "PVE_NODE is no setting: did you mean PVE_NODES?"),
    ],
)
def test_a_key_of_the_file_that_looks_like_ours(
    short: dict[str, str], env_file: EnvFile, line: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(short, env_file(line))
    assert caught.value.problems == (expected,)


def test_the_environment_may_hold_anything(given: Loader) -> None:
    settings = given(PROXMOX_HOTS="x", MCP_ZZZ="1", AGENT_ID="7", TZ="Europe/Berlin", EVENT_NAME="push")
    assert settings.warnings == settings.unavailable == ()


def test_foreign_keys_of_the_file_are_left_alone(short: dict[str, str], env_file: EnvFile) -> None:
    settings = load(
        short, env_file("DB_HOST=x\nCOMPOSE_PROJECT_NAME=y\nPATH=/\nHA_TOKEN=t\nHA_URL=u\nDISCORD_TOKEN=d\n")
    )
    assert settings.warnings == ()


@pytest.mark.parametrize(("key", "meant"), [("LOG_LEVL", "LOG_LEVEL"), ("HA_ENTITY", "HA_ENTITIES")])
def test_a_near_miss_of_another_family_is_told(short: dict[str, str], env_file: EnvFile, key: str, meant: str) -> None:
    settings = load(short, env_file(f"{key}=x\n"))
    assert settings.warnings == (f"{key} is no setting: did you mean {meant}?",)


def test_what_is_given_one_by_one_is_meant_for_us(short: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(short, search=False, overrides={"FOO": "1", "LOG_LEVEL": "INFO"})
    assert caught.value.problems == ("FOO is no setting: docs/configuration.md lists them all.",)


def test_a_host_that_is_not_listed_is_told(short: dict[str, str], env_file: EnvFile) -> None:
    settings = load(short, env_file("NODE9_HOST=x\nNODE9_TOKEN_VALUE=s\n"))
    assert len(settings.warnings) == 1
    assert settings.warnings[0].startswith("NODE9_TOKEN_VALUE is not used: NODE9 is in none of PVE_NODES")


def test_keys_of_a_listed_node_are_known_even_if_the_mode_leaves_them_out(
    short: dict[str, str], env_file: EnvFile
) -> None:
    path = env_file("LAB_CONFIGURATION=CLUSTERED\nPVE_NODES=pve\nPVE_HOST=x\nPVE_TOKEN_VALUE_FILE=/x\nPVE_CA_FILE=/y\n")
    assert load(short, path).warnings == (
        "PVE_NODES: not used, because LAB_CONFIGURATION=CLUSTERED leaves it out; MIXED reads all.",
    )


def test_a_key_of_a_later_version_is_reported(given: Loader) -> None:
    assert given(RULES_ALLOW="operate").unavailable == (
        "RULES_ALLOW is set but control by rules is not available in this version; it is ignored.",
    )


@pytest.mark.parametrize("row", [row for row in LATER if not row.shared], ids=lambda row: row.key)
def test_every_key_of_a_later_version_is_reported_when_it_asks_for_something(given: Loader, row: object) -> None:
    key = str(getattr(row, "key", "")).replace("*", "X")
    value = "off-default-7"
    (sentence,) = given(**{key: value}).unavailable
    assert sentence.startswith(f"{key} is set but ")
    assert value not in sentence
    for silent in ("", "false", "0", "off", str(getattr(row, "default", ""))):
        assert given(**{key: silent}).unavailable == ()


def test_every_toolset_of_the_design_is_there(given: Loader) -> None:
    settings = given(MCP_TOOLSETS="core,power,hardware,iac")
    assert settings.mcp.toolsets == {"core", "power", "hardware", "iac"}
    assert settings.unavailable == ()
    assert {"hardware", "iac"} <= given(MCP_TOOLSETS="all").mcp.toolsets
