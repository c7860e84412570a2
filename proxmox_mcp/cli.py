"""`proxmox-mcp`: the command line. Each command imports what it needs, so that `stdio` starts at once."""

import argparse
import asyncio
import gc
import importlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeAlias

from mqtt_bridge import __version__
from mqtt_bridge.errors import BridgeError, SettingsError
from mqtt_bridge.settings import LEVELS
from mqtt_bridge.severity import SEVERITIES

DESCRIPTION = "Proxmox VE and Backup Server on MQTT and for AI agents (MCP)."
EPILOG = """\
first steps:
  proxmox-mcp demo               everything at once on a simulated datacentre; touches nothing of yours
  proxmox-mcp check              test the settings: each host, token, privilege and the broker, with the cure
  proxmox-mcp serve              your Proxmox: bridge and MCP server over HTTP in one process
  proxmox-mcp watch              what it sees: sites, nodes, guests, and events as they come

the bridge's own command, `mqtt-bridge`:
  mqtt-bridge events             earlier events from the journal: --since 24h --severity error
  mqtt-bridge deliveries         what was told to whom, what waits, what was given up
  mqtt-bridge --only notify      the notifiers alone, in a process of their own
  mqtt-bridge classify           what would become of a mail, a log line, a notification

Settings come from the environment and from .env (this folder, then up to five parents).
`proxmox-mcp COMMAND --help` says more of each command.
"""
MOST = 50_000  # simulated guests or nodes
LEGACY = {"--test-connection": "check", "--mcp-server": "stdio"}


def parser() -> argparse.ArgumentParser:
    """The command line; each command names the function that runs it."""
    top = _Parser(prog="proxmox-mcp", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"proxmox-mcp {__version__}")
    top.add_argument("--env-file", type=Path, metavar="FILE", help="read settings from FILE instead of searching .env")
    top.add_argument("--test-connection", action="store_true", help="the same as `check`")
    top.add_argument("--mcp-server", action="store_true", help="the same as `stdio`")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _serving(commands)
    _looking(commands)
    _quieting(commands)
    _tokens(commands)
    _setting_up(commands)
    _deciding(commands)
    _trying(commands)
    _exercising(commands)
    return top


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]


Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 -- argparse has no public name for it


def _add(  # noqa: PLR0917 -- reads like the table that it is
    commands: Commands, name: str, run: str, help_: str, more: str, examples: str = ""
) -> _Parser:
    epilog = f"examples:\n{examples}" if examples else None
    command = commands.add_parser(
        name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.\n\n{more}", epilog=epilog
    )
    command.set_defaults(run=run)
    return command


def _http_options(command: _Parser) -> None:
    command.add_argument("--host", help="address to listen at (MCP_HTTP_HOST; beyond loopback it needs MCP_AUTH_TOKEN)")
    command.add_argument("--port", type=_port, help="port to listen at, 0 for any free one (MCP_HTTP_PORT)")


def _serving(commands: Commands) -> None:
    serve = _add(
        commands,
        "serve",
        "proxmox_mcp.serving:serve",
        "poll Proxmox, publish to MQTT and answer MCP over HTTP, in one process",
        "Without MQTT_HOST a broker of our own is started (mosquitto if it is installed).\n"
        "MCP clients connect to http://HOST:PORT/mcp; /health says ok, /metrics speaks Prometheus.",
        "  proxmox-mcp serve\n  MCP_AUTH_TOKEN_FILE=token.txt proxmox-mcp serve --host 0.0.0.0 --port 8080",
    )
    _http_options(serve)
    serve.add_argument("--standby", action="store_true", help="wait while another bridge publishes the same site")
    _http_options(
        _add(
            commands,
            "http",
            "proxmox_mcp.serving:http",
            "answer MCP over HTTP from what a bridge keeps on MQTT",
            "Starts no bridge, broker or listener. Where no bridge is online, Proxmox is asked directly.",
        )
    )
    stdio = _add(
        commands,
        "stdio",
        "proxmox_mcp.serving:stdio",
        "answer MCP on standard input and output, for a client that starts us",
        "Starts no bridge, broker or listener, so any number may run beside a `serve` with the same settings.\n"
        "Where no bridge is online, Proxmox is asked directly.\n"
        "With --connect it speaks for the client to a `serve` or `http` elsewhere; the one setting is the token,\n"
        "which is in PROXMOX_MCP_TOKEN or a file: others can read the command line of a process.",
        '  {"mcpServers": {"proxmox": {"command": "proxmox-mcp", "args": ["stdio"]}}}\n'
        '  {"mcpServers": {"proxmox": {"command": "proxmox-mcp", "args": ["stdio", "--connect", '
        '"https://mcp.lan/mcp"],\n                              "env": {"PROXMOX_MCP_TOKEN": "pmcp_…"}}}}',
    )
    stdio.add_argument("--connect", metavar="URL", help="where the server is, as it says: http://HOST:PORT/mcp")
    stdio.add_argument("--token-file", type=Path, metavar="FILE", help="its token (else PROXMOX_MCP_TOKEN)")


def _looking(commands: Commands) -> None:
    check = _add(
        commands,
        "check",
        "proxmox_mcp.commands:check",
        "test what is configured: hosts, TLS, tokens, privileges, the broker, each listener and notifier",
        "A line each, with the cause and the cure. Exit code 0 only if all that is enabled works.",
        "  proxmox-mcp check\n  proxmox-mcp check --send-test      also tells a test through each notifier",
    )
    check.add_argument("--only", choices=["notify"], help="what `mqtt-bridge --only notify` needs: no Proxmox host")
    check.add_argument("--send-test", action="store_true", help="send one test notice through each enabled notifier")
    check.add_argument("--json", action="store_true", help="print findings for machines")
    watch = _add(
        commands,
        "watch",
        "proxmox_mcp.commands:watch",
        "show what a running bridge publishes: sites, nodes, guests, and events as they come",
        "A live view in a terminal; a line per event otherwise, or with --events. What several channels tell is one\n"
        "line that names them all. Reads MQTT only. Ctrl-C ends it. For what is past: `mqtt-bridge events --help`.",
        "  proxmox-mcp watch\n"
        "  proxmox-mcp watch --events --severity warning     what goes wrong, line by line, like tail -f\n"
        "  proxmox-mcp watch --events >> events.log          without colours\n"
        "  proxmox-mcp watch --json | jq 'select(.kind | startswith(\"backup.\"))'",
    )
    watch.add_argument("--events", action="store_true", help="only events, each on a line as it comes")
    watch.add_argument("--severity", choices=SEVERITIES, default="info", help="events of this one and worse")
    watch.add_argument("--json", action="store_true", help="only events, one JSON object a line, duplicates too")
    config = _add(
        commands,
        "config",
        "proxmox_mcp.commands:config",
        "print the settings in force and where each comes from",
        "Secrets are shown as stars.",
    )
    config.add_argument("--json", action="store_true", help="print them for machines")
    audit = _add(
        commands,
        "audit",
        "proxmox_mcp.commands:audit",
        "verify the audit trail of what was asked, decided and done",
        "Finds lines that were changed, removed, inserted or reordered. Exit code 1 if there are any.",
    )
    audit.add_argument("action", choices=["verify"], help="what to do with it")


def _quieting(commands: Commands) -> None:
    silence = _add(
        commands,
        "silence",
        "proxmox_mcp.silencing:silence",
        "tell nobody of a site, node, guest or tag for a while (maintenance)",
        "What it held back is told in one notice at its end, if it is still wrong. Run it where the notifiers run,\n"
        "with the same STATE_DIR; the bridge may run meanwhile, and restarts change nothing of it.",
        "  proxmox-mcp silence pve1 2h --reason 'new disks'\n"
        "  proxmox-mcp silence 100 30m             a guest, by its VMID\n"
        "  proxmox-mcp silence tag:test 7d         guests with that tag\n"
        "  proxmox-mcp silence lab 15m             a whole site\n"
        "  proxmox-mcp silence --list\n"
        "  proxmox-mcp silence --end 3f2a91c0",
    )
    silence.add_argument("target", nargs="?", help="a site, node, VMID, or tag:NAME (also site:, node:, guest:)")
    silence.add_argument("duration", nargs="?", help="30m, 2h, 1d")
    silence.add_argument("--reason", default="", metavar="TEXT", help="why, for whoever lists them")
    silence.add_argument("--site", help="of the node, guest or tag, where there are several")
    silence.add_argument("--list", action="store_true", help="show what is silent, and until when")
    silence.add_argument("--end", metavar="ID", help="end a silence now")
    silence.add_argument("--json", action="store_true", help="with --list: one JSON object a line")
    incidents = _add(
        commands,
        "incidents",
        "proxmox_mcp.silencing:incidents",
        "show what is wrong at present as the notifiers see it, and acknowledge it",
        "An acknowledged incident brings no reminders and no updates, but its end, and what is worse.",
        "  proxmox-mcp incidents\n  proxmox-mcp incidents acknowledge 3f2a91c0",
    )
    incidents.add_argument("action", nargs="?", choices=["acknowledge"], help="somebody takes care of it")
    incidents.add_argument("id", nargs="?", help="the incident's id, or how it begins, or that of one of its notices")
    incidents.add_argument("--by", metavar="NAME", help="who does (default: you)")
    incidents.add_argument("--json", action="store_true", help="one JSON object a line")


def _tokens(commands: Commands) -> None:
    token = _add(
        commands,
        "token",
        "proxmox_mcp.token_file:token",
        "make, list and remove the named tokens of MCP clients (MCP_TOKENS_FILE)",
        "Each has a level and tools of its own, in place of MCP_ALLOW and MCP_TOOLSETS, and may have lists of what it\n"
        "may act on, beside those that hold for all. The file has only hashes; a token is shown once.",
        "  proxmox-mcp token add n8n --level operate --toolsets core,power --vmids 100,200-299\n"
        "  proxmox-mcp token add dashboard\n"
        "  proxmox-mcp token list\n"
        "  proxmox-mcp token remove n8n",
    )
    actions = token.add_subparsers(dest="action", metavar="add|list|remove", required=True, parser_class=_Parser)
    add = actions.add_parser("add", help="make one, and print it")
    add.add_argument("name", help="whose it is; the audit trail says so")
    add.add_argument("--level", choices=LEVELS, default="read", help="what it may do (default read)")
    add.add_argument("--toolsets", metavar="LIST", help="sets of tools, or tools (default: those of MCP_TOOLSETS)")
    add.add_argument("--nodes", metavar="LIST", help="nodes that it may act on (default: as configured for all)")
    add.add_argument("--vmids", metavar="LIST", help="guests that it may act on: 100,200-299")
    add.add_argument("--pools", metavar="LIST", help="pools whose guests it may act on")
    add.add_argument("--sites", metavar="LIST", help="sites that it may act on")
    listing = actions.add_parser("list", help="those there are, without what opens anything")
    listing.add_argument("--json", action="store_true", help="print them for machines")
    actions.add_parser("remove", help="take one out").add_argument("name", help="whose")


def _setting_up(commands: Commands) -> None:
    setup = _add(
        commands,
        "setup",
        "proxmox_mcp.setup.token:token",
        "print what to run in Proxmox for a fitting user, role and token; set our workflows up in n8n",
        "Each path gets exactly the privileges that what is switched on needs (levels, toolsets, tokens, commands,\n"
        "listeners), or --level and --toolsets. Nothing is run and nobody is asked.",
        "  proxmox-mcp setup token\n"
        "  proxmox-mcp setup token --pve --level read --lean\n"
        "  proxmox-mcp setup token --pbs --level operate --json\n"
        "  proxmox-mcp setup token --update        after more was switched on: the roles as they should be now\n"
        "  proxmox-mcp setup n8n                   what n8n needs: tokens, URL, credentials, import\n"
        "  proxmox-mcp setup n8n --url http://192.0.2.20:5678 --mcp-url http://host.docker.internal:8080/mcp --apply",
    )
    kinds = setup.add_subparsers(dest="what", metavar="token|n8n", required=True, parser_class=_Parser)
    token = kinds.add_parser("token", help="a user, its roles and an API token")
    product = token.add_mutually_exclusive_group()
    product.add_argument("--pve", action="store_true", help="for Proxmox VE only")
    product.add_argument("--pbs", action="store_true", help="for Backup Server only")
    token.add_argument("--site", help="only for this site of the settings")
    token.add_argument("--user", metavar="NAME@REALM", help="whose token (default proxmox-mcp@pve, proxmox-mcp@pbs)")
    token.add_argument("--name", default="mqtt", help="of the token (default mqtt)")
    token.add_argument("--level", choices=LEVELS, help="what it shall be able to do (default: what the settings allow)")
    token.add_argument("--toolsets", metavar="LIST", help="for these sets of tools (default: those of the settings)")
    token.add_argument(
        "--lean",
        action="store_true",
        help="leave out what Proxmox grants only with much more: reading backups on storages, hibernate",
    )
    token.add_argument(
        "--updates", action="store_true", help="with Sys.Modify on /nodes, which pending updates are read with"
    )
    token.add_argument("--update", action="store_true", help="user and token exist: only their roles")
    token.add_argument("--json", action="store_true", help="print it for machines")
    n8n = kinds.add_parser("n8n", help="the workflows in n8n: what they need, how n8n differs from it, and do it")
    n8n.set_defaults(run="proxmox_mcp.setup.n8n:n8n")
    n8n.add_argument("--url", help="where n8n is: compare it with our workflows (API key in N8N_API_KEY)")
    n8n.add_argument("--api-key-file", type=Path, metavar="FILE", help="n8n's API key (else N8N_API_KEY)")
    n8n.add_argument("--mcp-url", metavar="URL", help="how n8n reaches the MCP server, for the Config nodes")
    n8n.add_argument("--folder", type=Path, help="where the workflows are (default: n8n_workflows of this checkout)")
    n8n.add_argument("--apply", action="store_true", help="import what differs and publish")


def _deciding(commands: Commands) -> None:
    approvals = _add(
        commands,
        "approvals",
        "proxmox_mcp.approving:approvals",
        "what waits for a person's approval: list, show, approve, reject; make approvers",
        "Approving asks for the approver's name, and for the secret or a one-time code.\n"
        "Run it where the service runs (it may run meanwhile), with the same STATE_DIR and\n"
        "APPROVERS. docs/approvals.md says how else to decide.",
        "  proxmox-mcp approvals\n"
        "  proxmox-mcp approvals show 3f2a91c0\n"
        "  proxmox-mcp approvals approve 3f2a91c0 --by alice\n"
        "  proxmox-mcp approvals reject 3f2a91c0\n"
        "  proxmox-mcp approvals add-approver alice      prints a new secret, and the line for APPROVERS",
    )
    actions = ["list", "show", "approve", "reject", "add-approver"]
    approvals.add_argument("action", nargs="?", choices=actions, default="list", help="what to do (default: list)")
    approvals.add_argument("id", nargs="?", help="the approval's id, or how it begins; a name for add-approver")
    approvals.add_argument("--by", metavar="NAME", help="who decides (asked for otherwise)")
    approvals.add_argument("--proof-file", type=Path, metavar="FILE", help="read the secret or code from FILE")
    approvals.add_argument("--all", action="store_true", help="with list: also what is decided, used or expired")
    approvals.add_argument("--json", action="store_true", help="with list and show: one JSON object a line")


def _trying(commands: Commands) -> None:
    demo = _add(
        commands,
        "demo",
        "proxmox_mcp.demo:demo",
        "a simulated datacentre, a broker, the bridge and the MCP server, with a live view",
        "Ignores .env and the environment: nothing of yours is reached. Single settings are given with --set.",
        "  proxmox-mcp demo\n"
        "  proxmox-mcp demo --set PROXMOX_ALLOW_ELEVATED=true     agents may do everything to the simulated guests\n"
        "  proxmox-mcp demo --guests 1000 --http-port 0 --mqtt-port 0 --ready-file demo.json",
    )
    _lab_options(demo)
    demo.add_argument("--http-port", type=_port, metavar="PORT", help="of the MCP server (8080 or any free one)")
    demo.add_argument("--mqtt-port", type=_port, metavar="PORT", help="of the broker (1883 or the next free one)")
    demo.add_argument(
        "--set", action="append", default=[], type=_assignment, metavar="KEY=VALUE", help="a setting; may be repeated"
    )
    lab = _add(
        commands,
        "lab",
        "proxmox_mcp.demo:lab",
        "the simulated Proxmox API alone, for any client",
        "Serves the API of the simulated nodes and of a Backup Server over HTTPS on loopback.\n"
        "`lab fault NAME [ARGS]` breaks something in a running one, found through PROXMOX_LAB_CONTROL.",
        "  proxmox-mcp lab --ready-file lab.json\n"
        "  PROXMOX_LAB_CONTROL=URL proxmox-mcp lab fault node-down pve2\n"
        "  proxmox-mcp lab fault --help       lists the faults",
    )
    _lab_options(lab)
    lab.add_argument("--http-port", type=_port, metavar="PORT", help="of the first host; the others follow it")
    # there is no broker and there are no settings here: taken so that `demo`'s words work
    lab.add_argument("--mqtt-port", type=_port, help=argparse.SUPPRESS)
    lab.add_argument("--set", action="append", default=[], type=_assignment, help=argparse.SUPPRESS)
    faults = lab.add_subparsers(dest="what", metavar="[fault]", parser_class=_Parser)
    fault = faults.add_parser("fault", help="break something in a running lab", add_help=False)
    fault.add_argument("-h", "--help", action="store_true", dest="list_faults")
    fault.add_argument("fault", nargs="*", help="the fault's name and arguments")
    fault.set_defaults(run="proxmox_mcp.demo:fault")


def _exercising(commands: Commands) -> None:
    exercise = _add(
        commands,
        "exercise",
        "proxmox_mcp.exercise.command:exercise",
        "try every tool on throw-away guests, to work and to be refused, and take them away again",
        "On a simulated datacentre of its own, unless a real site is named: then a VM, a container, a clone and a\n"
        "restored guest are made there under ids that were free, and no other guest can be reached. Says what it did\n"
        "and undid; Ctrl-C tidies too. Exit code 1 if anything went otherwise, or is left behind.",
        "  proxmox-mcp exercise\n"
        "  proxmox-mcp exercise --yes-i-mean home --node pve2 --storage local-lvm     on the site of the settings",
    )
    exercise.add_argument("--yes-i-mean", metavar="SITE", help="a real site of the settings: guests are made there")
    exercise.add_argument("--node", help="where (default: the first that is online)")
    exercise.add_argument("--storage", help="for disks (default: one that can make snapshots)")
    exercise.add_argument("--pool", help="for the guests that it makes")
    exercise.add_argument("--image-url", metavar="URL", help="an ISO to download (real site; default: none)")
    exercise.add_argument("--image-sha256", metavar="HEX", help="its checksum")
    exercise.add_argument("--image-storage", metavar="NAME", help="where to")
    exercise.add_argument("--json", action="store_true", help="print what was done for machines")
    exercise.add_argument("--speed", type=float, default=50.0, help=argparse.SUPPRESS)  # of the simulated tasks


def _lab_options(command: _Parser) -> None:
    command.add_argument("--nodes", type=_count, default=3, help="Proxmox VE nodes (default 3)")
    command.add_argument("--guests", type=_count, default=24, help="guests in all, of both types (default 24)")
    command.add_argument("--seed", type=int, default=1, help="the same seed gives the same datacentre (default 1)")
    command.add_argument("--ready-file", type=Path, metavar="FILE", help="written as JSON once everything is up")


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:  # noqa: PLR2004 -- ports
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return number


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST}")
    return number


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError("KEY=VALUE is expected")
    return key.strip(), value


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 2 for wrong settings or arguments, 1 for anything else that went wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    top = parser()
    arguments = top.parse_args([LEGACY.get(w, w) for w in words])
    if arguments.command is None:
        top.print_help()
        return 2
    module, _, name = arguments.run.partition(":")
    with _unswept() if argv is None else nullcontext():
        command: Callable[[argparse.Namespace], Awaitable[int]] = getattr(importlib.import_module(module), name)
    try:
        return asyncio.run(_run(command, arguments))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except BridgeError as error:
        print(f"proxmox-mcp: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


@contextmanager
def _unswept() -> Iterator[None]:
    """Modules make much and leave no garbage while they load: looking for it is a tenth of a cold start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


async def _run(command: Callable[[argparse.Namespace], Awaitable[int]], arguments: argparse.Namespace) -> int:
    return await command(arguments)
