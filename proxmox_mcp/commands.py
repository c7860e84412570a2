"""The commands that look: check, watch, config, audit."""

import argparse
import asyncio
import json
import os
import sys

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.settings import Settings, load


async def check(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp check [--json]`: 0 only if everything that is enabled works."""
    from proxmox_mcp import check as checks  # noqa: PLC0415 -- each command imports what it needs

    settings = load(os.environ, arguments.env_file)
    findings = await checks.run_checks(settings)
    print(checks.to_json(findings) if getattr(arguments, "json", False) else checks.render(findings))
    return 0 if checks.passed(findings) else 1


async def config(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp config [--json]`: what is in force, redacted."""
    from mqtt_bridge.settings import describe  # noqa: PLC0415

    rows = describe(os.environ, arguments.env_file)
    if arguments.json:
        print(json.dumps([{"group": g, "key": k, "value": v, "origin": o} for g, k, v, o in rows], indent=2))
        return 0
    width = max(len(key) for _, key, _, _ in rows)
    group = None
    for row_group, key, value, origin in rows:
        if row_group != group:
            print(f"\n# {row_group}" if group else f"# {row_group}")
            group = row_group
        print(f"{key:<{width}}  {value or '(empty)':<30}  {origin}")
    settings = load(os.environ, arguments.env_file)
    for sentence in (*settings.warnings, *settings.unavailable):
        print(f"note: {sentence}", file=sys.stderr)
    return 0


async def audit(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp audit verify`."""
    from mqtt_bridge.audit import verify  # noqa: PLC0415

    settings = load(os.environ, arguments.env_file)
    report = verify(settings.general.state_dir / "audit.jsonl")
    print(report)
    return 0 if report.ok else 1


async def watch(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp watch`: a live view of what a bridge publishes."""
    from mqtt_bridge import logs  # noqa: PLC0415
    from mqtt_bridge.__main__ import stop_signals  # noqa: PLC0415
    from mqtt_bridge.topics import Topics  # noqa: PLC0415
    from proxmox_mcp.screen import show  # noqa: PLC0415
    from proxmox_mcp.serving import bus_factory, find_broker  # noqa: PLC0415
    from proxmox_mcp.state import State  # noqa: PLC0415

    settings = load(os.environ, arguments.env_file)
    logs.set_up(settings.general, quiet=sys.stdout.isatty())
    found = _broker(settings, find_broker(settings))
    async with State(bus_factory(found.options, "watch"), names=Topics(found.base_topic)) as state:
        view = await state.view()
        stop = stop_signals()
        await show(view, [f"broker {found.options.address}, base topic {found.base_topic}"], stop)
    return 0


def _broker(settings: Settings, found: object) -> object:
    if found is None:
        raise BridgeError(
            f"No broker is configured and no bridge runs with STATE_DIR {settings.general.state_dir}.",
            cure="Set MQTT_HOST, or start `proxmox-mcp serve` first.",
        )
    return found
