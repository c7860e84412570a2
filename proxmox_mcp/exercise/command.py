"""`proxmox-mcp exercise`: opens the place, walks, tidies whatever happened, and says what it did and undid."""

import argparse
import asyncio
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from mcp import Client

from mqtt_bridge import logs
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import GeneralSettings, PermissionSettings, Settings, load
from proxmox_mcp.control import Control
from proxmox_mcp.exercise.ground import Ground, Picture, survey
from proxmox_mcp.exercise.walk import Line, Walk
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import private_poller
from proxmox_mcp.state import State
from proxmox_mcp.tools import ALL

IMAGE = Picture("https://images.example.org/exercise.iso", "a" * 64, "local")
_MARKS = {True: "as expected", False: "NOT AS EXPECTED"}


async def exercise(arguments: argparse.Namespace) -> int:
    """On the lab, or with --yes-i-mean on the site of the settings. 0: all as expected, and nothing is left."""
    async with AsyncExitStack() as stack:
        settings, lab = await _place(arguments, stack)
        async with opened(settings, arguments) as walk:
            left = await walked(walk)
        wrong = [*lab.violations, *lab.unsimulated] if lab else []
    return _told(walk, left, wrong, as_json=arguments.json)


async def _place(arguments: argparse.Namespace, stack: AsyncExitStack) -> tuple[Settings, Lab | None]:
    """The settings of a real site that was named, else those of a simulated datacentre of our own."""
    if arguments.yes_i_mean:
        settings = load(os.environ, arguments.env_file)
        logs.set_up(settings.general)
        return settings, None
    logs.set_up(GeneralSettings(log_level="ERROR"))
    lab = await stack.enter_async_context(Lab(LabOptions(speed=arguments.speed, pvestatd_interval=0)))
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="proxmox-mcp-exercise-"))
    settings = load({**lab.env, "STATE_DIR": folder}, search=False)
    api = dataclasses.replace(settings.api, poll_interval=0.3, poll_tasks_interval=0.3, rate_limit=100_000)
    return dataclasses.replace(settings, api=api), lab


@asynccontextmanager
async def opened(settings: Settings, arguments: argparse.Namespace) -> AsyncIterator[Walk]:
    """Two MCP servers on one site: one that may do everything to the new guests alone, one that may only read."""
    async with AsyncExitStack() as stack:
        clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
        site = _site(clients, arguments.yes_i_mean)
        servers = {slug: api for slug, api in clients.items() if api.site.kind == "pbs"}
        picture = _picture(arguments)
        ground = await survey(
            clients[site], servers, node=arguments.node or "", storage=arguments.storage or "", pool=arguments.pool,
            picture=picture,
        )  # fmt: skip
        inside = _restricted(settings, ground)
        state = await stack.enter_async_context(
            State(None, lambda: private_poller(settings), sites=list(clients), wait=20)
        )
        mcp = dataclasses.replace(settings.mcp, toolsets=frozenset({"all"}), tool_prefix="")
        servers_of = [
            build_server(
                one := dataclasses.replace(settings, mcp=mcp, permission=rules), state, Control(one, clients, None),
                clients,
            )
            for rules in (inside, dataclasses.replace(inside, mcp_allow="read"))
        ]  # fmt: skip
        mayall, mayread = [await stack.enter_async_context(Client(server)) for server in servers_of]
        yield Walk(ground, mayall, mayread, clients[site], ALL, _silent if arguments.json else _tell)


def _site(clients: Mapping[str, ProxmoxClient], meant: str | None) -> str:
    """The Proxmox VE site; the one that was named must be one of the settings'."""
    sites = [slug for slug, api in clients.items() if api.site.kind == "pve"]
    if meant is not None and meant not in sites:
        raise BridgeError(
            f"The settings have no Proxmox VE site {meant!r}.", cure=f"They have: {', '.join(sites) or 'none'}."
        )
    return meant or sites[0]


def _picture(arguments: argparse.Namespace) -> Picture | None:
    if not arguments.yes_i_mean:
        return IMAGE
    if not arguments.image_url:
        return None
    if not (arguments.image_sha256 and arguments.image_storage):
        raise BridgeError("--image-url goes with --image-sha256 and --image-storage.")
    return Picture(arguments.image_url, arguments.image_sha256, arguments.image_storage)


def _restricted(settings: Settings, ground: Ground) -> PermissionSettings:
    """Everything, but only to guests whose ids were free, and on this site's own rules beside."""
    hosts = frozenset({ground.picture.url.split("/")[2]} if ground.picture else {"images.invalid"})
    return dataclasses.replace(
        settings.permission,
        mcp_allow="exec",
        approval_required=frozenset(),
        vmid_allowlist=frozenset(ground.ids),
        image_url_allowlist=settings.permission.image_url_allowlist | hosts,
    )


async def walked(walk: Walk) -> list[str]:
    """The course, and the tidying after it, also where it was stopped by an error or by Ctrl-C."""
    from mqtt_bridge.__main__ import stop_signals  # noqa: PLC0415 -- signals are this command's only

    going = asyncio.create_task(walk.course(), name="exercise")
    stop = stop_signals()
    await asyncio.wait([going, stop], return_when=asyncio.FIRST_COMPLETED)
    if not going.done():
        going.cancel()
        walk.note(Line("-", "stopped", "cut off", good=False, said="what was made is taken away"))
    await asyncio.wait([going])
    try:
        if not going.cancelled() and (error := going.exception()):
            walk.note(Line("-", "stopped by an error", type(error).__name__, good=False, said=str(error)))
    finally:
        left = await walk.tidy()
    return left


def _silent(_line: Line) -> None:
    """With --json all is printed at the end."""


def _tell(line: Line) -> None:
    print(f"{line.tool:<26} {line.what[:48]:<48} {line.came:<9} {_MARKS[line.good]:<15} {line.undone}".rstrip())
    if not line.good:
        print(f"{'':<26} {line.said}")
    sys.stdout.flush()


def _told(walk: Walk, left: Sequence[str], wrong: Sequence[str], *, as_json: bool) -> int:
    """A summary, and the exit code."""
    bad = [line for line in walk.lines if not line.good]
    called = {line.tool for line in walk.lines if line.came != "left out"}
    missed = sorted({tool.name for tool in ALL} - called)
    if as_json:
        rows = [dataclasses.asdict(line) for line in walk.lines]
        print(json.dumps({"lines": rows, "left": list(left), "not_called": missed, "not_in_schema": list(wrong)}))
    else:
        print(f"\n{len(walk.lines)} calls of {len(called)} tools, {len(bad)} not as expected.")
        print(f"Not called here: {', '.join(missed) or 'none'}.")
        print(f"LEFT BEHIND: {', '.join(left)}" if left else "Nothing was left behind.")
        for sentence in wrong:
            print(f"Not in Proxmox's schema, or not simulated: {sentence}")
    return 1 if bad or left or wrong else 0
