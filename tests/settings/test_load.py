import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mqtt_bridge.settings import (
    ApiSettings,
    GeneralSettings,
    McpSettings,
    MqttSettings,
    PermissionSettings,
    Settings,
    allows,
    default_state_dir,
    is_loopback,
    load,
)
from mqtt_bridge.settings.approving import ApprovalSettings
from mqtt_bridge.settings.event_rows import FILTERED
from mqtt_bridge.settings.listening import EventSettings, Filters, ListenerSettings
from mqtt_bridge.settings.notify_rows import NOTIFIERS
from mqtt_bridge.settings.notifying import NotifySettings, OutSettings, Routing
from mqtt_bridge.settings.table import FIXED, TOOLSETS
from mqtt_bridge.settings.types import HomeAssistantSettings

Loader = Callable[..., Settings]
Reporter = Callable[..., tuple[str, ...]]
LONG = "0123456789abcdef"


def test_the_table_and_the_types_agree_on_defaults(given: Loader) -> None:
    settings = given()
    assert settings == Settings(sites=settings.sites)
    assert settings.general == GeneralSettings()
    assert settings.api == ApiSettings()
    assert settings.permission == PermissionSettings()
    assert settings.mqtt == MqttSettings()
    assert settings.mcp == McpSettings()


def test_every_field_of_the_types_has_a_row() -> None:
    filled = {row.into for row in FIXED} | {"mqtt.host", "mqtt.port", "mcp.toolsets"}
    filled |= {"permission.mcp_allow", "permission.mqtt_allow"}
    sections = {
        "general": GeneralSettings,
        "api": ApiSettings,
        "permission": PermissionSettings,
        "approval": ApprovalSettings,
        "homeassistant": HomeAssistantSettings,
        "mqtt": MqttSettings,
        "mcp": McpSettings,
        "events": EventSettings,
        **{f"listen.{name}": type(section) for name, section in vars(ListenerSettings()).items()},
        **{f"filters.{name}": Filters for name in ("all", *FILTERED)},
        "notify": NotifySettings,
        **{f"out.{name}": type(section) for name, section in vars(OutSettings()).items()},
        **{f"routing.{name}": Routing for name in NOTIFIERS},
    }
    fields = {f"{name}.{field.name}" for name, section in sections.items() for field in dataclasses.fields(section)}
    assembled = {
        "approval.approvers",
        "listen.discord.own_webhooks",
        "events.enabled",
        "events.filters",
        "events.per_listener",
        "notify.enabled",
        "notify.routing",
    }
    assert filled - {""} == fields - assembled


def test_nothing_configured_says_what_to_write(alone: Loader, problems: Reporter) -> None:
    (text,) = problems({})
    for word in ("PROXMOX_HOST=", "PROXMOX_USER=", "PROXMOX_TOKEN_NAME=", "PROXMOX_TOKEN_VALUE=", "proxmox-mcp demo"):
        assert word in text


def test_hosts_that_the_mode_leaves_out_are_part_of_that_report(problems: Reporter) -> None:
    lines = problems({"LAB_CONFIGURATION": "CLUSTERED", "PVE_NODES": "pve1"})
    assert "PVE_NODES" in lines[0]
    assert lines[-1].startswith("No Proxmox host")


def test_all_mistakes_in_one_report(problems: Reporter) -> None:
    lines = problems(
        {
            "PROXMOX_HOST": "http://pve",
            "PROXMOX_TIMEOUT": "10",
            "LOG_LEVEL": "loud",
            "MQTT_TLS": "maybe",
            "MQTT_PORT": "70000",
            "PROXMOX_VMID_ALLOWLIST": "1-2",
            "APPROVAL_REQUIRED": "sometimes",
            "MCP_TOOLSETS": "core,powers",
            "MCP_ALLOWED_ORIGINS": "*",
            "MQTT_CA_FILE": "/nonexistent/ca.pem",
        }
    )
    assert {line.split()[0] for line in lines} >= {
        "PROXMOX_HOST",
        "PROXMOX_USER",
        "PROXMOX_TIMEOUT",
        "LOG_LEVEL",
        "MQTT_TLS",
        "MQTT_PORT",
        "PROXMOX_VMID_ALLOWLIST",
        "APPROVAL_REQUIRED",
        "MCP_TOOLSETS",
        "MCP_ALLOWED_ORIGINS",
        "MQTT_CA_FILE",
    }
    assert all(line.endswith((".", "MQTT_TLS=true, or take that out.")) for line in lines)


def test_api(given: Loader) -> None:
    api = given(
        PROXMOX_TIMEOUT="2500", PROXMOX_RETRY_DELAY="250ms", PROXMOX_RETRY_ATTEMPTS="1", POLL_SLOW_INTERVAL="2h"
    ).api
    assert (api.timeout, api.retry_delay, api.retry_attempts, api.poll_slow_interval) == (2.5, 0.25, 1, 7200)


def test_permission(given: Loader) -> None:
    permission = given(
        MCP_ALLOW="Operate",
        PROXMOX_NODE_ALLOWLIST="pve1, pve2",
        PROXMOX_VMID_ALLOWLIST="100-102",
        PROXMOX_POOL_ALLOWLIST="prod",
        PROXMOX_PROTECTED_TAGS="keep",
        PROXMOX_PROTECTED_POOLS="infra",
        PROXMOX_SELF_GUESTS="100",
        APPROVAL_REQUIRED="exec",
    ).permission
    assert permission == PermissionSettings(
        mcp_allow="operate",
        node_allowlist=frozenset({"pve1", "pve2"}),
        vmid_allowlist=frozenset({100, 101, 102}),
        pool_allowlist=frozenset({"prod"}),
        protected_tags=frozenset({"keep"}),
        protected_pools=frozenset({"infra"}),
        self_guests=frozenset({100}),
        approval_required=frozenset({"exec"}),
    )


def test_no_approval_must_be_asked_for_by_word(given: Loader) -> None:
    assert given(APPROVAL_REQUIRED="none").permission.approval_required == frozenset()
    assert given(APPROVAL_REQUIRED="").permission.approval_required == {"destroy", "exec"}


def test_elevated(given: Loader, short: dict[str, str], problems: Reporter) -> None:
    assert given(PROXMOX_ALLOW_ELEVATED="true").permission.mcp_allow == "exec"
    assert given(PROXMOX_ALLOW_ELEVATED="false", MCP_ALLOW="change").permission.mcp_allow == "change"
    assert given(PROXMOX_ALLOW_ELEVATED="true", MCP_ALLOW="exec").permission.mcp_allow == "exec"
    (line,) = problems({**short, "PROXMOX_ALLOW_ELEVATED": "true", "MCP_ALLOW": "read"})
    assert "MCP_ALLOW=read" in line


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({}, "read"),
        ({"MQTT_COMMANDS": "true"}, "operate"),
        ({"MQTT_COMMANDS": "false"}, "read"),
        ({"MQTT_ALLOW": "change"}, "change"),
        ({"MQTT_COMMANDS": "true", "MQTT_ALLOW": "destroy"}, "destroy"),
    ],
)
def test_commands_over_mqtt(given: Loader, more: dict[str, str], level: str) -> None:
    permission = given(**more).permission
    assert (permission.mqtt_allow, permission.mcp_allow) == (level, "read")


@pytest.mark.parametrize(("said", "level"), [("true", "read"), ("false", "operate")])
def test_commands_that_contradict_their_level(short: dict[str, str], problems: Reporter, said: str, level: str) -> None:
    (line,) = problems({**short, "MQTT_COMMANDS": said, "MQTT_ALLOW": level})
    assert "MQTT_COMMANDS" in line
    assert f"MQTT_ALLOW={level}" in line


@pytest.mark.parametrize(
    ("more", "port"),
    [
        ({}, 1883),
        ({"MQTT_TLS": "yes"}, 8883),
        ({"MQTT_TLS": "yes", "MQTT_PORT": "1"}, 1),
        ({"MQTT_HOST": "b:2"}, 2),
        ({"MQTT_HOST": "b:2", "MQTT_PORT": "2"}, 2),
    ],
)
def test_mqtt_port(given: Loader, more: dict[str, str], port: int) -> None:
    mqtt = given(**{"MQTT_HOST": "b", **more}).mqtt
    assert (mqtt.host, mqtt.port) == ("b", port)


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"MQTT_HOST": "b:1", "MQTT_PORT": "2"}, "MQTT_PORT"),
        ({"MQTT_HOST": "b", "MQTT_PASSWORD": "x"}, "MQTT_USERNAME"),
        ({"MQTT_HOST": "b", "MQTT_CA_FILE": __file__}, "MQTT_TLS"),
        ({"MQTT_HOST": "b", "MQTT_TLS": "on", "MQTT_CERT_FILE": __file__}, "MQTT_KEY_FILE"),
        ({"MQTT_HOST": "b", "MQTT_TLS": "on", "MQTT_KEY_FILE": __file__}, "MQTT_CERT_FILE"),
    ],
)
def test_mqtt_settings_that_do_not_fit(
    short: dict[str, str], problems: Reporter, more: dict[str, str], key: str
) -> None:
    (line,) = problems({**short, **more})
    assert line.startswith(f"{key} ")


def test_broker_settings_that_are_not_used_are_told(given: Loader) -> None:
    assert given(MQTT_PORT="1884", MQTT_USERNAME="u").warnings[0].startswith("MQTT_PORT, MQTT_USERNAME: not used")
    assert given(MQTT_HOST="b", MQTT_EMBEDDED_PORT="1").warnings[0].startswith("MQTT_EMBEDDED_PORT: not used")
    assert given(MQTT_HOST="b", MQTT_PORT="1").warnings == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_listening_on_this_machine_needs_no_token(given: Loader, host: str) -> None:
    assert is_loopback(given(MCP_HTTP_HOST=host).mcp.host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "pve.lan"])  # noqa: S104
def test_listening_beyond_needs_a_token_of_some_length(
    given: Loader, short: dict[str, str], problems: Reporter, host: str
) -> None:
    (missing,) = problems({**short, "MCP_HTTP_HOST": host})
    assert missing.startswith("MCP_AUTH_TOKEN is missing")
    (weak,) = problems({**short, "MCP_HTTP_HOST": host, "MCP_AUTH_TOKEN": LONG[:15]})
    assert weak.startswith("MCP_AUTH_TOKEN is shorter than 16")
    token = given(MCP_HTTP_HOST=host, MCP_AUTH_TOKEN=LONG).mcp.auth_token
    assert token is not None
    assert token.reveal() == LONG


def test_a_short_token_is_fine_on_this_machine(given: Loader) -> None:
    assert given(MCP_AUTH_TOKEN="short").mcp.auth_token


def test_mcp(given: Loader) -> None:
    mcp = given(
        MCP_HTTP_PORT="0",
        MCP_ALLOWED_HOSTS="a.example:8080, [::1]:1",
        MCP_ALLOWED_ORIGINS="https://a.example",
        MCP_TOOLSETS="Core",
        MCP_TOOL_PREFIX="pve_",
        MCP_SESSION_IDLE="1m",
    ).mcp
    assert mcp == McpSettings(
        port=0,
        allowed_hosts=("a.example:8080", "[::1]:1"),
        allowed_origins=("https://a.example",),
        toolsets=frozenset({"core"}),
        tool_prefix="pve_",
        session_idle=60,
    )
    assert given(MCP_TOOLSETS="all").mcp.toolsets == set(TOOLSETS)


def test_placeholders_are_recognized(short: dict[str, str], problems: Reporter) -> None:
    (line,) = problems({**short, "PROXMOX_TOKEN_VALUE": "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"})
    assert "placeholder" in line


def test_general(given: Loader, tmp_path: Path) -> None:
    general = given(
        LOG_LEVEL="warn",
        LOG_FORMAT="JSON",
        LOG_FILE="~/log",
        STATE_DIR=str(tmp_path / "new"),
        PROXMOX_LAB_CONTROL="http://127.0.0.1:1/x",
    ).general
    assert (general.log_level, general.log_format, general.log_file) == ("WARNING", "json", Path.home() / "log")
    assert general.state_dir == tmp_path / "new"
    assert not general.state_dir.exists(), "who uses it makes it"
    assert general.lab_control == "http://127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, ".local/state/proxmox-mcp"),
        ("linux", {"XDG_STATE_HOME": "relative"}, ".local/state/proxmox-mcp"),
        ("linux", {"XDG_STATE_HOME": "/xdg"}, "/xdg/proxmox-mcp"),
        ("darwin", {}, "Library/Application Support/proxmox-mcp"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/proxmox-mcp"),
    ],
)
def test_state_dir_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_state_dir() == Path.home() / expected


def test_levels_are_ordered_by_risk() -> None:
    assert allows("exec", "destroy")
    assert allows("read", "read")
    assert not allows("operate", "change")
    assert not allows("read", "exec")


def test_importing_and_loading_brings_in_nothing_slow() -> None:
    code = (
        "import sys; import mqtt_bridge.settings as s; "
        "slow = {'pydantic', 'requests', 'proxmoxer', 'aiohttp', 'paho', 'dotenv', 'mcp'} & set(sys.modules); "
        "sys.exit(str(slow) if slow else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_twice_gives_equal_settings(short: dict[str, str]) -> None:
    assert load(short, search=False) == load(short, search=False)
