from collections.abc import Callable
from pathlib import Path

from mqtt_bridge.secret import STARS
from mqtt_bridge.settings import describe


def test_what_is_in_force_and_from_where(short: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("LOG_LEVEL=DEBUG\nPVE_NODES=pve1\nPVE1_HOST=h\nMQTT_PASSWORD_FILE=/x\nHA_DISCOVERY_PREFIX=ha\n")
    rows = {row.key: row for row in describe(short, path, overrides={"MQTT_BASE_TOPIC": "t"})}
    assert (rows["PROXMOX_HOST"].value, rows["PROXMOX_HOST"].origin) == ("192.0.2.10", "environment")
    assert (rows["PROXMOX_TOKEN_VALUE"].value, rows["PROXMOX_TOKEN_VALUE"].group) == (STARS, "one host")
    assert (rows["LOG_LEVEL"].value, rows["LOG_LEVEL"].origin) == ("DEBUG", ".env")
    assert (rows["MQTT_BASE_TOPIC"].value, rows["MQTT_BASE_TOPIC"].origin) == ("t", "override")
    assert (rows["POLL_INTERVAL"].value, rows["POLL_INTERVAL"].origin) == ("10", "default")
    assert (rows["MQTT_PASSWORD"].value, rows["MQTT_PASSWORD"].origin) == (STARS, ".env")
    assert (rows["MCP_AUTH_TOKEN"].value, rows["MCP_AUTH_TOKEN"].origin) == ("", "default")
    assert (rows["PVE1_HOST"].value, rows["PVE1_HOST"].group) == ("h", "host")
    assert rows["HA_DISCOVERY_PREFIX"].origin == ".env"
    assert "PVE_CLUSTER_NAME" not in rows


def test_a_wrong_value_is_not_repeated(short: dict[str, str]) -> None:
    rows = {row.key: row.value for row in describe({**short, "PROXMOX_USER": "root@pam!t=sss", "LOG_LEVEL": "x"})}
    assert rows["PROXMOX_USER"].startswith("(wrong")
    assert rows["LOG_LEVEL"].startswith("(wrong")


def test_a_secret_under_another_key_or_in_a_url_is_starred(short: dict[str, str]) -> None:
    odd = {"MQTT_CLIENT_ID": short["PROXMOX_TOKEN_VALUE"], "PROXMOX_LAB_CONTROL": "http://me:pw@127.0.0.1/x"}
    rows = {row.key: row.value for row in describe({**short, **odd}, search=False)}
    assert rows["MQTT_CLIENT_ID"] == STARS
    assert "pw" not in rows["PROXMOX_LAB_CONTROL"]


def test_nothing_configured_is_no_reason_to_fail() -> None:
    assert {row.origin for row in describe({}, search=False)} == {"default"}


def test_every_available_group_is_shown_in_order(host: Callable[..., dict[str, str]], short: dict[str, str]) -> None:
    groups = [row.group for row in describe({**short, "PVE_NODES": "a", **host("A_")}, search=False)]
    assert list(dict.fromkeys(groups)) == [
        "one host",
        "lab",
        "host",
        "API",
        "permission",
        "approval",
        "MQTT",
        "MCP",
        "events in",
        "filters",
        "filters of one listener",
        "notify",
        "notify routing",
        "Home Assistant",
        "general",
    ]
