"""The commands that end by themselves: what they say, and with which exit code."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto
from tests.support.processes import environment, over_stdio, run
from tests.system.conftest import Env

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- what is to be refused
EXAMPLES = {  # command: what its help must show
    ("proxmox-mcp",): ("proxmox-mcp demo", "proxmox-mcp check", "serve", "stdio", "--test-connection", "--mcp-server"),
    ("proxmox-mcp", "serve"): ("proxmox-mcp serve", "MCP_AUTH_TOKEN", "--standby", "/health"),
    ("proxmox-mcp", "http"): ("--host", "--port", "MQTT"),
    ("proxmox-mcp", "stdio"): ("mcpServers", "proxmox-mcp"),
    ("proxmox-mcp", "check"): ("--json", "xit code"),
    ("proxmox-mcp", "watch"): ("Ctrl-C", "--events --severity warning", "--json", "mqtt-bridge events"),
    ("proxmox-mcp", "config"): ("--json", "stars"),
    ("proxmox-mcp", "audit"): ("verify",),
    ("proxmox-mcp", "demo"): ("--set PROXMOX_ALLOW_ELEVATED=true", "--ready-file", "--seed", ".env"),
    ("proxmox-mcp", "lab"): ("lab fault node-down", "PROXMOX_LAB_CONTROL", "--ready-file"),
    ("proxmox-mcp", "lab", "fault"): ("guest-crash VMID", "api-hang", "token-revoke"),
    ("mqtt-bridge",): ("purge --dry-run", "run --standby"),
    ("mqtt-bridge", "run"): ("--standby",),
    ("mqtt-bridge", "purge"): ("--dry-run", "Home Assistant"),
}


def ran(*words: str, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    done = run(*words, env=environment(**env), cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_help_teaches(words: tuple[str, ...], tmp_path: Path) -> None:
    done = ran(*words, "--help", cwd=tmp_path)
    assert done.returncode == 0
    for text in EXAMPLES[words]:
        assert text in done.stdout


def test_the_audit_trail_is_verified_without_a_host(tmp_path: Path) -> None:
    """It may lie on another machine by now; and a file that is not there is not said to be whole."""
    done = ran("proxmox-mcp", "audit", "verify", cwd=tmp_path, STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "is not there" in done.stdout
    (tmp_path / "audit.jsonl").write_text("{}\n")
    done = ran("proxmox-mcp", "audit", "verify", cwd=tmp_path, STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    assert "line 1:" in done.stdout
    assert "0 records, 1 problem\n" in done.stdout


@pytest.mark.parametrize("words", [
    ("proxmox-mcp", "serve"), ("proxmox-mcp", "stdio"), ("proxmox-mcp", "http"), ("proxmox-mcp", "check"),
    ("proxmox-mcp", "--test-connection"), ("proxmox-mcp", "--mcp-server"), ("mqtt-bridge",), ("mqtt-bridge", "run"),
], ids=" ".join)  # fmt: skip
def test_nothing_configured_says_what_to_write(words: tuple[str, ...], tmp_path: Path) -> None:
    done = ran(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "PROXMOX_TOKEN_VALUE" in done.stderr
    assert "proxmox-mcp demo" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [("proxmox-mcp", "serve"), ("proxmox-mcp", "check"), ("mqtt-bridge", "purge")])
def test_every_mistake_is_in_one_report(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "PROXMOX_HOST=192.0.2.1\nPROXMOX_USER=root\nPOLL_INTERVAL=never\nMQTT_PORT=99999\n", encoding="utf-8"
    )
    done = ran(*words, cwd=tmp_path, MCP_TOOLSETS="core,nonsense", PROXMOX_TOKEN_VALUE="a-secret-value")
    assert done.returncode == 2
    for key in ("PROXMOX_USER", "PROXMOX_TOKEN_NAME", "POLL_INTERVAL", "MQTT_PORT", "MCP_TOOLSETS"):
        assert key in done.stderr
    assert "a-secret-value" not in done.stderr


def test_an_unknown_command_and_no_command(tmp_path: Path) -> None:
    assert ran("proxmox-mcp", "nonsense", cwd=tmp_path).returncode == 2
    assert ran("proxmox-mcp", cwd=tmp_path).returncode == 2
    assert "mqtt-bridge" in ran("mqtt-bridge", "--version", cwd=tmp_path).stdout
    assert "proxmox-mcp" in ran("proxmox-mcp", "--version", cwd=tmp_path).stdout


async def test_config_shows_what_is_in_force_without_secrets(lab: Lab, env: Env, tmp_path: Path) -> None:
    settings = {
        k: v
        for k, v in env(MQTT_HOST="broker.lan", MQTT_USERNAME="me", MQTT_PASSWORD="mqtt-secret").items()
        if k != "PATH"
    }
    settings.pop("MQTT_EMBEDDED_PORT")
    shown = [ran("proxmox-mcp", "config", *more, cwd=tmp_path, **settings) for more in ((), ("--json",))]
    for done in shown:
        assert done.returncode == 0, done.stderr
        assert "broker.lan" in done.stdout
        assert "mqtt-secret" not in done.stdout + done.stderr
        assert lab.token_value not in done.stdout + done.stderr
    rows = {row["key"]: row for row in json.loads(shown[1].stdout)}
    assert rows["MQTT_HOST"]["value"] == "broker.lan"
    assert rows["POLL_INTERVAL"]["value"]


async def test_a_mistake_does_not_keep_config_from_showing_it(tmp_path: Path) -> None:
    done = ran("proxmox-mcp", "config", cwd=tmp_path, POLL_INTERVAL="never")
    assert done.returncode == 2
    assert "POLL_INTERVAL" in done.stderr
    assert "POLL_INTERVAL" in done.stdout


@pytest.mark.parametrize("words", [("check",), ("--test-connection",), ("check", "--json")], ids=" ".join)
async def test_check_on_what_works(lab: Lab, broker_env: Env, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = await _off_loop("proxmox-mcp", *words, env=broker_env(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if "--json" in words:
        findings = json.loads(done.stdout)
        assert findings
    else:
        assert "pbs1" in done.stdout
    assert lab.token_value not in done.stdout + done.stderr


async def test_check_tells_four_troubles_apart(lab: Lab, broker_env: Env, tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A wrong token, a wrong host, a certificate nobody pinned, a broker with a wrong password."""
    async with Mosquitto(tmp_path / "guarded", users={"bridge": "right"}) as guarded:
        good = broker_env()
        unpinned = {k: v for k, v in good.items() if not k.endswith("FINGERPRINT")}
        wrong = {
            "token": {**good, "PVE_CLUSTER_PRIMARY_TOKEN_VALUE": "00000000-0000-0000-0000-000000000000"},
            "host": {**good, "PVE_CLUSTER_PRIMARY_HOST": "no-such-host.invalid"},
            "certificate": unpinned,
            "password": {**good, "MQTT_PORT": str(guarded.port), "MQTT_USERNAME": "x", "MQTT_PASSWORD": "wrong-pw"},
        }  # fmt: skip
        said = {}
        for trouble, env in wrong.items():
            done = await _off_loop("proxmox-mcp", "check", env=env, cwd=tmp_path)
            assert done.returncode == 1, (trouble, done.stdout)
            said[trouble] = done.stdout
    assert len(set(said.values())) == 4
    assert "token" in said["token"]
    assert "no-such-host.invalid" in said["host"]
    assert lab.fingerprint in said["certificate"]
    assert "FINGERPRINT" in said["certificate"]
    assert "MQTT_PASSWORD" in said["password"]
    assert "wrong-pw" not in said["password"]


async def _off_loop(*words: str, env: dict[str, str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    """The lab answers from this loop, so it must turn while the command runs."""
    return await asyncio.to_thread(run, *words, env=env, cwd=cwd, seconds=60)


async def test_mcp_server_is_stdio(lab: Lab, env: Env, tmp_path: Path) -> None:
    async with over_stdio(tmp_path, env(), words=("--mcp-server",)) as agent:
        assert (await agent.ask("get_nodes"))["source"] == "api"


async def test_listening_beyond_loopback_needs_a_token(env: Env, tmp_path: Path) -> None:
    for word in ("serve", "http"):
        done = await _off_loop("proxmox-mcp", word, "--host", EVERYWHERE, "--port", "0", env=env(), cwd=tmp_path)
        assert done.returncode == 2
        assert "MCP_AUTH_TOKEN" in done.stderr


async def test_watch_without_a_bridge_says_so(env: Env, tmp_path: Path) -> None:
    done = await _off_loop("proxmox-mcp", "watch", env=env(), cwd=tmp_path)
    assert done.returncode == 1
    assert "proxmox-mcp serve" in done.stderr
