"""`demo` and `lab`: a simulated datacentre, with everything on it or alone. Nothing outside this machine is reached."""

import argparse
import json
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from mqtt_bridge import logs
from mqtt_bridge.__main__ import stop_signals
from mqtt_bridge.approvals.proofs import key_of, knows_secret, new_secret
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.settings import GeneralSettings, Settings, load
from mqtt_bridge.settings.sources import Report, collect
from mqtt_bridge.settings.table import ROWS
from mqtt_bridge.statedir import write_private
from proxmox_mcp.lab import FAULTS, FaultError, Lab, LabOptions, send_fault

log = logging.getLogger(__name__)

MCP_PORT = 8080
PVESTATD = 2.0  # seconds; a real host's 10 would make a demo look slow
CONTROL = "PROXMOX_LAB_CONTROL"
APPROVER = "you"
SETTINGS_FILE = "approvals.env"  # in STATE_DIR


async def demo(arguments: argparse.Namespace) -> int:
    """Lab, broker, bridge and MCP server in this process, with a live view where there is a terminal."""
    from proxmox_mcp.demo_targets import aim, listening  # noqa: PLC0415 -- `lab` needs none of these
    from proxmox_mcp.screen import show  # noqa: PLC0415
    from proxmox_mcp.serving import Served, bus_factory  # noqa: PLC0415
    from proxmox_mcp.told import Listening, Told  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        state_dir = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="proxmox-mcp-demo-", ignore_cleanup_errors=True)
        )
        # the lab's own port is only known once it runs, so that wrong --set values are told after it has started
        logs.set_up(GeneralSettings(), quiet=sys.stdout.isatty())
        lab = await stack.enter_async_context(Lab(_options(arguments, lively=True, pvestatd_interval=PVESTATD)))
        secret = new_secret()
        settings = _settings(arguments, {**lab.env, **listening()}, state_dir, secret)
        logs.set_up(settings.general, quiet=sys.stdout.isatty())
        served = await stack.enter_async_context(
            Served(settings, port=_http_port(arguments), embedded_port=arguments.mqtt_port)
        )
        await served.bridge.ready()
        await aim(lab, served.bridge, settings)
        _tell_ready(arguments.ready_file, _ready(lab, served.bridge.options, served.url, settings))
        stop, told, names = stop_signals(), Told(), served.bridge.pollers.retained.names
        await stack.enter_async_context(Listening(bus_factory(served.bridge.options, "watch"), names, told))
        connect = [
            *_connect(served.bridge.options, served.url, settings, lab.env),
            *_approve(settings, Path(state_dir), secret),
        ]
        await show(served.state, connect, stop, told)
    return 0


async def lab(arguments: argparse.Namespace) -> int:
    """The simulated API alone."""
    logs.set_up(GeneralSettings())
    async with Lab(_options(arguments, ports=_api_ports(arguments))) as running:
        _tell_ready(arguments.ready_file, _ready(running, None, None, None))
        print("Proxmox VE      ", *running.api_urls)
        print("Backup Server   ", *running.pbs_urls)
        print(f"token            {running.user}!{running.token_name}={running.token_value}")
        print(f"read only        {running.user}!{running.readonly_token_name}={running.readonly_token_value}")
        print(f"fingerprint      {running.fingerprint}")
        print(f"faults           {CONTROL}={running.control_url} {_us()} lab fault --help", flush=True)
        await stop_signals()
    return 0


async def fault(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp lab fault NAME [ARGS]`."""
    words: list[str] = arguments.fault
    if not words or arguments.list_faults:
        print(f"usage: {CONTROL}=URL proxmox-mcp lab fault NAME [ARGS]\n\nfaults:")
        for row in FAULTS:
            print(f"  {' '.join((row.name, *row.arguments)):<34} {row.help}")
        return 0 if arguments.list_faults else 2
    control = collect(Report(), os.environ).value(ROWS[CONTROL])
    if not control:
        raise BridgeError(
            f"{CONTROL} is not set, so the running lab cannot be found.",
            cure="`lab` and `demo` print it, and write it into `env` of the --ready-file.",
        )
    try:
        print(await send_fault(control, words[0], words[1:]))
    except FaultError as error:
        raise BridgeError(str(error)) from error
    return 0


def _options(arguments: argparse.Namespace, **more: Any) -> LabOptions:
    return LabOptions(nodes=arguments.nodes, guests=arguments.guests, seed=arguments.seed, **more)


def _api_ports(arguments: argparse.Namespace) -> tuple[int, ...]:
    """`lab --http-port N`: the hosts listen at N, N + 1 and so on."""
    first = arguments.http_port or 0
    return tuple(range(first, first + arguments.nodes + 1)) if first else ()


def _us() -> str:
    """This command as it can be typed here."""
    found = shutil.which("proxmox-mcp")
    here = Path(sys.argv[0])
    if found and Path(found).resolve() == here.resolve():
        return "proxmox-mcp"
    return os.path.relpath(here) if here.exists() else "proxmox-mcp"


def _settings(arguments: argparse.Namespace, env: Mapping[str, str], state_dir: str, secret: str) -> Settings:
    """The environment is left out on purpose: a demo must never reach someone's real systems."""
    ours = {
        **env,
        "STATE_DIR": state_dir,
        "APPROVERS": f"{APPROVER}:sha256:{key_of(secret)}",
        "BRIDGE_NAME": "demo",
        "MCP_AUTH_TOKEN": secrets.token_urlsafe(24),
        "POLL_INTERVAL": "5",
        "POLL_TASKS_INTERVAL": "2",
        "HA_DISCOVERY": "false",
    }
    return load(ours, search=False, overrides=dict(arguments.set))


def _http_port(arguments: argparse.Namespace) -> int:
    """The given port; else 8080 or, where that is taken, any free one."""
    if arguments.http_port is not None:
        return int(arguments.http_port)
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", MCP_PORT))
        except OSError:
            return 0
    return MCP_PORT


def _ready(lab: Lab, mqtt: BrokerOptions | None, url: str | None, settings: Settings | None) -> dict[str, Any]:
    token = settings.mcp.auth_token if settings else None
    return {
        "mqtt": mqtt
        and {
            "host": mqtt.host,
            "port": mqtt.port,
            "username": mqtt.username,
            "password": mqtt.password.reveal() if mqtt.password else None,
        },
        "mcp": url and {"url": url, "token": token.reveal() if token else None},
        "lab": {
            "api": list(lab.api_urls),
            "pbs": list(lab.pbs_urls),
            "user": lab.user,
            "token_name": lab.token_name,
            "token_value": lab.token_value,
            "readonly_token_name": lab.readonly_token_name,
            "readonly_token_value": lab.readonly_token_value,
            "fingerprint": lab.fingerprint,
        },
        "env": dict(lab.env),
    }


def _tell_ready(path: Path | None, ready: Mapping[str, Any]) -> None:
    if path is not None:
        try:
            write_private(path, json.dumps(ready, indent=2))
        except OSError as error:
            raise BridgeError(f"--ready-file {path} cannot be written: {error.strerror}.") from error
    log.info("Ready")


def _approve(settings: Settings, folder: Path, secret: str) -> Sequence[str]:
    """How to approve, where anything can be done that may need it; what `approvals` has to know is in a file."""
    ours = next((one for one in settings.approval.approvers if knows_secret(one, secret)), None)
    if ours is None or {settings.permission.mcp_allow, settings.permission.mqtt_allow} == {"read"}:
        return ()
    file = folder / SETTINGS_FILE
    entry = f"{ours.name}:sha256:{ours.key.reveal()}"
    write_private(file, f"STATE_DIR={settings.general.state_dir}\nAPPROVERS={entry}\n")
    return (
        f"approvals      {_us()} --env-file {file} approvals",
        f"               approve as {ours.name} with the secret {secret}",
    )


def _connect(mqtt: BrokerOptions, url: str, settings: Settings, env: Mapping[str, str]) -> Sequence[str]:
    return list(_connect_lines(mqtt, url, settings, env))


def _connect_lines(mqtt: BrokerOptions, url: str, settings: Settings, env: Mapping[str, str]) -> Iterator[str]:
    password = mqtt.password.reveal() if mqtt.password else ""
    token = settings.mcp.auth_token
    yield f"MCP client     {url}   header  Authorization: Bearer {token.reveal() if token else ''}"
    login = f" -u {mqtt.username} -P {password}" if mqtt.username else ""
    yield f"mosquitto_sub  mosquitto_sub -h {mqtt.host} -p {mqtt.port}{login} -t '{settings.mqtt.base_topic}/#' -v"
    yield f"MQTT explorer  host {mqtt.host}  port {mqtt.port}  user {mqtt.username or '-'}  password {password or '-'}"
    yield f"break things   {CONTROL}={env.get(CONTROL, '')} {_us()} lab fault node-down pve2"
    if settings.permission.mcp_allow == "read":
        yield "control        read only; start with --set PROXMOX_ALLOW_ELEVATED=true to let agents control guests"
