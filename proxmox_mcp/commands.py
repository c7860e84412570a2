"""The commands that look: check, watch, config, audit."""

import argparse
import dataclasses
import itertools
import json
import os
import sys

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.settings import load


async def check(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp check [--only notify] [--send-test] [--json]`: 0 only if everything that is enabled works."""
    from proxmox_mcp import check as checks  # noqa: PLC0415 -- each command imports what it needs

    only = getattr(arguments, "only", None) is not None
    settings = load(os.environ, arguments.env_file, hosts=not only)
    if only:
        from mqtt_bridge.notifying.process import required  # noqa: PLC0415

        required(settings)
    rows = checks.NOTIFY_CHECKS if only else checks.CHECKS
    findings = await checks.run_checks(settings, send_test=getattr(arguments, "send_test", False), checks=rows)
    print(checks.to_json(findings) if getattr(arguments, "json", False) else checks.render(findings))
    return 0 if checks.passed(findings) else 1


async def config(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp config [--json]`: what is in force, redacted."""
    from mqtt_bridge.settings import describe  # noqa: PLC0415

    rows = describe(os.environ, arguments.env_file)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        return 0
    width = max(len(row.key) for row in rows)
    for group, lines in itertools.groupby(rows, key=lambda row: row.group):
        print(f"# {group}")
        for row in lines:
            print(f"{row.key:<{width}}  {row.value or '(empty)':<30}  {row.origin}")
        print()
    settings = load(os.environ, arguments.env_file)
    for sentence in (*settings.warnings, *settings.unavailable):
        print(f"note: {sentence}", file=sys.stderr)
    return 0


async def audit(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp audit verify`."""
    from mqtt_bridge.audit.verify import verify  # noqa: PLC0415

    settings = load(os.environ, arguments.env_file, hosts=False)
    report = verify(settings.general.state_dir / "audit.jsonl")
    for problem in report.problems:
        print(f"line {problem.line}: {problem.text}")
    if report.ok and not report.path.exists():
        print(f"{report.path} is not there: nothing was done with this STATE_DIR yet, or it is not the service's.")
        return 0
    outcome = "every record is as it was written" if report.ok else _counted(len(report.problems), "problem")
    print(f"{report.path}: {_counted(report.records, 'record')}, {outcome}")
    return 0 if report.ok else 1


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def watch(arguments: argparse.Namespace) -> int:
    """`proxmox-mcp watch`: a live view of what a bridge publishes, or its events as a stream."""
    from mqtt_bridge import logs  # noqa: PLC0415
    from mqtt_bridge.__main__ import stop_signals  # noqa: PLC0415
    from mqtt_bridge.topics import Topics  # noqa: PLC0415
    from proxmox_mcp.screen import show, stream  # noqa: PLC0415
    from proxmox_mcp.serving import bus_factory, find_broker  # noqa: PLC0415
    from proxmox_mcp.state import State  # noqa: PLC0415
    from proxmox_mcp.told import Listening, Told  # noqa: PLC0415

    settings = load(os.environ, arguments.env_file)
    logs.set_up(settings.general, quiet=sys.stdout.isatty())
    found = find_broker(settings)
    if found is None:
        raise BridgeError(
            f"No broker is configured and no bridge runs with STATE_DIR {settings.general.state_dir}.",
            cure="Set MQTT_HOST, or start `proxmox-mcp serve` first.",
        )
    names, told, factory = Topics(found.base_topic), Told(arguments.severity), bus_factory(found.options, "watch")
    async with State(factory, names=names) as state, Listening(factory, names, told):
        await state.view()
        if arguments.events or arguments.json:
            await stream(state, stop_signals(), told, as_json=arguments.json)
        else:
            connect = [f"broker {found.options.address}, base topic {found.base_topic}"]
            await show(state, connect, stop_signals(), told)
    return 0
