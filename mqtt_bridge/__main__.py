"""`mqtt-bridge`: the bridge alone, and what belongs to its topics."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from mqtt_bridge import __version__
from mqtt_bridge.errors import BridgeError, SettingsError
from mqtt_bridge.events import classify_cli, events_cli
from mqtt_bridge.notifying import deliveries_cli
from mqtt_bridge.settings import Settings, load

EPILOG = """\
Settings come from the environment and from .env (this folder, then up to five parents);
`proxmox-mcp config` shows what is in force, `proxmox-mcp check` tests it.

examples:
  mqtt-bridge                    poll Proxmox, publish to MQTT, until Ctrl-C
  mqtt-bridge run --standby      wait while another bridge publishes the same site
  mqtt-bridge events --since 24h --severity error
                                 what went wrong since yesterday
  mqtt-bridge --only notify      the notifiers alone, in a process or on a machine of their own
  mqtt-bridge deliveries --parked
                                 what a notifier gave up; --retry tries it again
  mqtt-bridge classify < mail    what the rules make of a text
  mqtt-bridge purge --dry-run    list every retained and discovery topic of ours

`proxmox-mcp watch --events` shows events as they come.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="mqtt-bridge",
        description="Keep the state of Proxmox VE and Backup Server on MQTT, as retained topics.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"mqtt-bridge {__version__}")
    top.add_argument("--env-file", type=Path, metavar="FILE", help="read settings from FILE instead of searching .env")
    _add_only(top, None)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser("run", help="poll and publish (the default)", description="Poll Proxmox and publish.")
    run.add_argument("--standby", action="store_true", help="wait while another bridge publishes the same site")
    _add_only(run, argparse.SUPPRESS)
    purge = commands.add_parser(
        "purge",
        help="clear every retained and discovery topic of ours",
        description="Clear every retained topic below MQTT_BASE_TOPIC that is one of ours, and the Home Assistant "
        "discovery that we published. Stop the bridge first.",
    )
    purge.add_argument("--dry-run", action="store_true", help="only list the topics")
    events_cli.add_parser(commands)
    deliveries_cli.add_parser(commands)
    classify_cli.add_parser(commands)
    return top


def _add_only(to: argparse.ArgumentParser, default: str | None) -> None:
    """Before the command and behind it; there its absence must not undo what was said before."""
    help_ = "run the notifiers alone: they listen to MQTT_HOST and need no Proxmox host, but a STATE_DIR of their own"
    to.add_argument("--only", choices=["notify"], default=default, help=help_)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 2 for wrong settings, 1 for anything else that went wrong."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.command == "classify":
            return classify_cli.main(arguments)
        only = arguments.only is not None and arguments.command in (None, "run")
        settings = load(os.environ, arguments.env_file, hosts=not (only or arguments.command in JOURNALS))
        if arguments.command in JOURNALS:
            return JOURNALS[arguments.command](settings.general.state_dir, arguments)
        return asyncio.run(COMMANDS["only" if only else arguments.command or "run"](settings, arguments))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except BridgeError as error:
        print(f"mqtt-bridge: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


async def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    from mqtt_bridge import logs  # noqa: PLC0415 -- --help needs none of it
    from mqtt_bridge.app import Bridge  # noqa: PLC0415

    logs.begin(settings)
    async with Bridge(settings, standby=getattr(arguments, "standby", False)) as bridge:
        stop = stop_signals()
        await asyncio.wait([stop, bridge.fatal], return_when=asyncio.FIRST_COMPLETED)
        if bridge.fatal.done():
            bridge.fatal.result()
    return 0


async def _only_notify(settings: Settings, arguments: argparse.Namespace) -> int:
    from mqtt_bridge import logs  # noqa: PLC0415
    from mqtt_bridge.notifying.process import NotifyProcess, required  # noqa: PLC0415

    del arguments
    required(settings)
    logs.begin(settings)
    async with NotifyProcess(settings):
        await stop_signals()
    return 0


async def _purge(settings: Settings, arguments: argparse.Namespace) -> int:
    from mqtt_bridge import statedir  # noqa: PLC0415
    from mqtt_bridge.mqtt import embedded  # noqa: PLC0415
    from mqtt_bridge.purge import purge  # noqa: PLC0415
    from mqtt_bridge.topics import Topics  # noqa: PLC0415

    names, state_dir = Topics(settings.mqtt.base_topic), settings.general.state_dir
    async with AsyncExitStack() as stack:
        options = statedir.broker_options(settings.mqtt)
        if options is None:
            await stack.enter_async_context(statedir.StateDir(state_dir))
            own = embedded.EmbeddedBroker(
                state_dir, port=settings.mqtt.embedded_port, base_topic=settings.mqtt.base_topic
            )
            options = await stack.enter_async_context(own)
        topics = await purge(options, names, discovery_prefix=settings.homeassistant.prefix, dry_run=arguments.dry_run)
    for topic in topics:
        print(topic)
    print(f"{len(topics)} topics {'found' if arguments.dry_run else 'cleared'}", file=sys.stderr)
    return 0


JOURNALS: dict[str, Callable[[Path, argparse.Namespace], int]] = {
    "events": events_cli.run,
    "deliveries": deliveries_cli.run,
}
COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], Coroutine[None, None, int]]] = {
    "run": _run,
    "only": _only_notify,
    "purge": _purge,
}


def stop_signals() -> asyncio.Future[None]:
    """Done at SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def set_stop() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(set_stop))
        else:
            loop.add_signal_handler(number, set_stop)
    return stop


if __name__ == "__main__":
    sys.exit(main())
