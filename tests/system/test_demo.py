"""`proxmox-mcp demo` as a process: what a newcomer, or a machine that tests us, starts first."""

import asyncio
import json
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Command, Mode, Tree, children, environment, options, over_http, run, until

HOSTILE = {
    "PROXMOX_HOST": "192.0.2.1",
    "PROXMOX_USER": "root@pam",
    "PROXMOX_TOKEN_NAME": "x",
    "PROXMOX_TOKEN_VALUE": "hostile-token",
    "MQTT_HOST": "192.0.2.2",
    "MQTT_PASSWORD": "hostile-password",
    "MQTT_BASE_TOPIC": "hostile",
    "MCP_AUTH_TOKEN": "hostile-mcp-token",
    "MCP_TOOLSETS": "nonsense",
    "POLL_INTERVAL": "never",
    "STATE_DIR": "/proc/hostile",
    "PROXMOX_ALLOW_ELEVATED": "true",
}


class Demo(Command):
    def __init__(self, folder: Path, *words: str, **env: str) -> None:
        self.file = folder / "ready.json"
        self.temp = folder / "temp"
        self.temp.mkdir(parents=True)
        (folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in HOSTILE.items()), encoding="utf-8")
        free = ("--http-port", "0", "--mqtt-port", "0", "--ready-file", str(self.file))
        super().__init__(
            folder, "proxmox-mcp", "demo", *free, *words, env=environment(**{**env, "TMPDIR": str(self.temp)})
        )
        self.start()

    def wait(self) -> dict[str, Any]:
        """Until its ready file is there and its last line of how to connect: at most 30 s."""
        end = time.monotonic() + 30
        while not (self.file.exists() and re.search(r"^control .*\n|with the secret \S+\n", self.out, re.MULTILINE)):
            assert self.running, self.err
            assert time.monotonic() < end, self.err
            time.sleep(0.05)
        return dict(json.loads(self.file.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Read only, with a hostile environment and .env."""
    running = Demo(tmp_path_factory.mktemp("demo"), **HOSTILE)
    yield running
    running.close()


@pytest.fixture(scope="module")
def ready(demo: Demo) -> dict[str, Any]:
    return demo.wait()


@pytest.fixture(scope="module")
def elevated_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """With control, and polls so rare that only an action can have changed something."""
    words = ("--set", "PROXMOX_ALLOW_ELEVATED=true", "--set", "POLL_INTERVAL=600", "--set", "POLL_TASKS_INTERVAL=600")
    running = Demo(tmp_path_factory.mktemp("elevated"), *words)
    yield running
    running.close()


@pytest.fixture(scope="module")
def elevated(elevated_demo: Demo) -> dict[str, Any]:
    return elevated_demo.wait()


def test_the_ready_file_is_private_and_has_its_shape(demo: Demo, ready: dict[str, Any]) -> None:
    assert stat.S_IMODE(demo.file.stat().st_mode) == 0o600
    assert ready.keys() == {"mqtt", "mcp", "lab", "env"}
    assert ready["mqtt"].keys() == {"host", "port", "username", "password"}
    assert ready["mcp"].keys() == {"url", "token"}
    assert ready["mcp"]["url"].endswith("/mcp")
    assert ready["lab"].keys() == {
        "api", "pbs", "user", "token_name", "token_value", "readonly_token_name", "readonly_token_value", "fingerprint",
    }  # fmt: skip
    assert len(ready["lab"]["api"]) == 3
    assert len(ready["lab"]["pbs"]) >= 1
    assert all(isinstance(value, str) for value in ready["env"].values())
    assert ready["env"]["PROXMOX_LAB_CONTROL"].startswith("http://127.0.0.1:")


def test_mosquitto_sub_shows_the_whole_tree(ready: dict[str, Any]) -> None:
    mqtt = ready["mqtt"]
    login = ["-h", mqtt["host"], "-p", str(mqtt["port"]), "-u", mqtt["username"], "-P", mqtt["password"]]
    seen = subprocess.run(
        ["mosquitto_sub", *login, "-v", "-t", "proxmox/#", "-W", "3"], capture_output=True, text=True, check=False
    )
    topics = {line.split(" ", 1)[0] for line in seen.stdout.splitlines()}
    assert "proxmox/bridge/demo/state online" in seen.stdout
    assert "proxmox/lab/state online" in seen.stdout
    assert {f"proxmox/lab/node/pve{n}" for n in (1, 2, 3)} <= topics
    guests = [t for t in topics if t.startswith("proxmox/lab/guest/") and not t.endswith("/metrics")]
    assert len(guests) == 24
    assert any("/datastore/" in t for t in topics)
    states = [json.loads(line.split(" ", 1)[1]) for line in seen.stdout.splitlines() if line.split(" ", 1)[0] in guests]
    assert {s["type"] for s in states} == {"qemu", "lxc"}
    assert {s["status"] for s in states} >= {"running", "stopped"}
    assert sum(s["template"] for s in states) >= 1


def test_nothing_of_the_environment_or_env_file_is_used(demo: Demo, ready: dict[str, Any]) -> None:
    said = json.dumps(ready) + demo.err + demo.out
    for value in ("192.0.2", "hostile"):
        assert value not in said
    assert ready["mqtt"]["host"] == "127.0.0.1"


def test_without_a_terminal_it_says_how_to_connect(demo: Demo, ready: dict[str, Any]) -> None:
    assert ready["mcp"]["url"] in demo.out
    assert "mosquitto_sub" in demo.out
    assert "\x1b[" not in demo.out
    assert "approve as" not in demo.out  # read only: there is nothing to approve


async def test_what_needs_an_approval_can_be_approved_in_a_second_terminal(
    elevated_demo: Demo, elevated: dict[str, Any], tmp_path: Path
) -> None:
    """As the demo's own lines say: the file that they name, the approver and the secret."""
    said = elevated_demo.out
    found = re.search(r"--env-file (\S+) approvals\n.* approve as (\S+) with the secret (\S+)\n", said)
    assert found, said
    file, who, secret = found.groups()
    proof = tmp_path / "proof"
    proof.write_text(secret)
    async with over_http(elevated["mcp"]["url"], elevated["mcp"]["token"], "auto") as agent:
        asked = await agent.ask("execute_node_command", node="pve3", command="stopall", vmids=[102])
        assert asked["status"] == "approval_required", asked
        given = asked["approval"]["id"]
        words = ("--env-file", file, "approvals", "approve", given, "--by", who, "--proof-file", str(proof))
        done = await asyncio.to_thread(run, "proxmox-mcp", *words, env=environment(), cwd=tmp_path)
        assert "Approved by you." in done.stdout, done.stdout + done.stderr
        asked = await agent.ask("execute_node_command", node="pve3", command="stopall", vmids=[102], approval=given)
        assert asked["status"] == "done", asked


def test_the_env_makes_check_pass(demo: Demo, ready: dict[str, Any], tmp_path: Path) -> None:
    env = environment(**ready["env"], STATE_DIR=str(tmp_path / "state"), MQTT_EMBEDDED_PORT="0")
    checked = run("proxmox-mcp", "check", "--json", env=env, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_a_fault_reaches_the_running_lab(ready: dict[str, Any], tmp_path: Path) -> None:
    env = environment(PROXMOX_LAB_CONTROL=ready["env"]["PROXMOX_LAB_CONTROL"])
    done = run("proxmox-mcp", "lab", "fault", "storage-fill", "local", "91", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "91" in done.stdout
    (tmp_path / ".env").write_text(f"PROXMOX_LAB_CONTROL={env['PROXMOX_LAB_CONTROL']}\n", encoding="utf-8")
    in_a_file = run("proxmox-mcp", "lab", "fault", "storage-fill", "local", "92", env=environment(), cwd=tmp_path)
    assert in_a_file.returncode == 0, in_a_file.stderr
    wrong = run("proxmox-mcp", "lab", "fault", "no-such-fault", env=env, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "guest-crash" in wrong.stderr


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_reads_24_guests(ready: dict[str, Any], mode: Mode) -> None:
    async with over_http(ready["mcp"]["url"], ready["mcp"]["token"], mode) as agent:
        tools = await agent.tools()
        assert "get_vms" in tools
        assert not any(name.startswith("execute_") for name in tools)
        read = [await agent.ask(tool) for tool in ("get_vms", "get_lxcs")]
        guests = [g["vmid"] for answer in read for g in answer["guests"]]
        assert len(set(guests)) == 24
        for answer in read:
            assert answer["source"] == "mqtt"
            assert answer["complete"]
            assert not answer["stale"]
            assert answer["as_of"]
        why = await agent.refused("execute_vm_command", vmid=min(guests), command="start")
        assert "PROXMOX_ALLOW_ELEVATED" in why


@pytest.mark.parametrize(("mode", "tool", "listing"), [
    ("auto", "execute_vm_command", "get_vms"), ("legacy", "execute_lxc_command", "get_lxcs"),
])  # fmt: skip
async def test_an_agent_stops_and_starts_a_guest_and_sees_it_on_mqtt(
    elevated: dict[str, Any], mode: Mode, tool: str, listing: str
) -> None:
    async with (
        over_http(elevated["mcp"]["url"], elevated["mcp"]["token"], mode) as agent,
        Tree(options(elevated["mqtt"])) as tree,
    ):
        running = (await agent.ask(listing, status="running"))["guests"]
        vmid = running[-1]["vmid"]
        for command, status in (("stop", "stopped"), ("start", "running")):
            answer = await agent.ask(tool, vmid=vmid, command=command)
            assert (answer["ok"], answer["state_after"]) == (True, status)
            await until(lambda status=status: tree.status(vmid) == status)  # type: ignore[misc]
            async with asyncio.timeout(15):
                while (await agent.ask("get_guest", vmid=vmid))["guest"]["status"] != status:
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    demo = Demo(tmp_path / "demo", "--guests", "5")
    demo.wait()
    started = children(demo.pid)
    assert any("mosquitto" in command for command in started.values())
    demo.send(number)
    assert demo.process.wait(15) == 0
    assert "Traceback" not in demo.err
    assert "ERROR" not in demo.err
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    assert list(demo.temp.iterdir()) == []


def test_a_wrong_set_is_reported(tmp_path: Path) -> None:
    words = ("--http-port", "0", "--mqtt-port", "0", "--set", "POLL_INTERVAL=never", "--set", "NO_SUCH_KEY_MQTT_=1")
    told = run("proxmox-mcp", "demo", *words, env=environment(), cwd=tmp_path)
    assert told.returncode == 2
    assert "POLL_INTERVAL" in told.stderr
    assert "Traceback" not in told.stderr
    no_equals = run("proxmox-mcp", "demo", "--set", "POLL_INTERVAL", env=environment(), cwd=tmp_path)
    assert no_equals.returncode == 2
    assert "KEY=VALUE" in no_equals.stderr


def test_set_is_honoured(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo", "--set", "MQTT_BASE_TOPIC=elsewhere", "--nodes", "2", "--guests", "7")
    try:
        mqtt = demo.wait()["mqtt"]
        login = ["-h", mqtt["host"], "-p", str(mqtt["port"]), "-u", mqtt["username"], "-P", mqtt["password"]]
        seen = subprocess.run(
            ["mosquitto_sub", *login, "-v", "-t", "#", "-W", "2"], capture_output=True, text=True, check=False
        )
        topics = [line.split(" ", 1)[0] for line in seen.stdout.splitlines()]
        assert {t.split("/")[0] for t in topics} == {"elsewhere"}
        assert sum(t.startswith("elsewhere/lab/guest/") and t.count("/") == 3 for t in topics) == 7
        assert sum(t.startswith("elsewhere/lab/node/") and t.count("/") == 3 for t in topics) == 2
    finally:
        demo.close()
