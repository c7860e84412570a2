"""`proxmox-mcp setup n8n`: what n8n needs for our workflows; with its URL and key, how it differs, and doing it."""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.settings import Settings
from proxmox_mcp.check.n8n import found, own_address
from proxmox_mcp.setup.n8n_api import Api
from proxmox_mcp.setup.n8n_plan import Plan, Workflow, plan
from proxmox_mcp.setup.token import settings_of

KEY = "N8N_API_KEY"
FOLDER = Path(__file__).parents[2] / "n8n_workflows"
ERRORS = "8-errors.json"
READS = "core,history,snapshots,backups"
ACTS = "core,power,snapshots,backups,provision,notify"
TYPES: Mapping[str, str] = {
    "mqtt": "MQTT",
    "httpBearerAuth": "Bearer Auth",
    "openAiApi": "OpenAI",
    "discordBotApi": "Discord Bot",
    "telegramApi": "Telegram",
    "smtp": "SMTP",
    "crypto": "Crypto",
}
CONTENT: Mapping[str, str] = {
    "Proxmox MQTT": "host, port, user, password of the broker; the client id stays empty",
    "Proxmox MCP bearer": "the token of n8n-reads",
    "Proxmox MCP operator": "the token of n8n-acts",
    "Proxmox approver": "Hmac Secret: the 64 hex digits after sha256: in APPROVERS",
}


async def n8n(arguments: argparse.Namespace) -> int:
    """Print what is needed; with --url compare n8n with it, and with --apply import, fill in and publish."""
    settings = settings_of(os.environ, arguments.env_file)
    ours = workflows(arguments.folder or FOLDER)
    if arguments.url is None:
        print("\n".join(instructions(settings, ours)))
        return 0
    async with Api(arguments.url, _key(arguments.api_key_file)) as api:
        found_there = await plan(api, ours, config(settings, arguments.mcp_url))
        print("\n".join(found_there.told()))
        if not arguments.apply:
            print("\nNothing was changed. With --apply this is done.")
            return 0
        print()
        return await _apply(found_there, api)


async def _apply(wanted: Plan, api: Api) -> int:
    good = True
    async for ok, line in wanted.apply(api):
        print(line)
        good = good and ok
    return 0 if good else 1


def workflows(folder: Path) -> list[Workflow]:
    """Those of a folder; the one for errors first, since the others name it, and the agent before its channels."""
    paths = sorted(folder.glob("*.json"), key=lambda path: (path.name != ERRORS, path.name))
    if not paths:
        raise BridgeError(f"There are no workflows in {folder}.", cure="Name the folder n8n_workflows with --folder.")
    return [Workflow.read(path) for path in paths]


def config(settings: Settings, url: str | None) -> dict[str, str]:
    """What we know of the rows of the Config nodes."""
    known = {"base": settings.mqtt.base_topic}
    if url:
        known["mcpUrl"] = url
    if settings.sites:
        known["site"] = settings.sites[0].slug
    return known


def instructions(settings: Settings, ours: list[Workflow]) -> Iterator[str]:
    """In the order in which it is done."""
    yield "1. Tokens for n8n (MCP_TOKENS_FILE in .env; the server is restarted afterwards):"
    yield f"   proxmox-mcp token add n8n-reads --level read --toolsets {READS}"
    yield f"   proxmox-mcp token add n8n-acts --level operate --toolsets {ACTS}"
    yield "   --level destroy for workflow 7 and the garbage collection of 5; approvals hold all the same."
    yield "2. mcpUrl for the Config nodes:"
    for row in found(settings.mcp, own_address()):
        yield f"   {row.detail}" + (f" -> {row.cure}" if row.cure else "")
    yield "3. Credentials in n8n, by exactly these names:"
    kinds = {name: kind for one in ours for name, kind in one.credentials.items()}
    for name in sorted(kinds):
        yield f"   {name} ({TYPES.get(kinds[name], kinds[name])})" + (f": {CONTENT[name]}" if name in CONTENT else "")
    yield "4. Import, then fill in Config and publish each, workflow 8 first:"
    yield f"   n8n import:workflow --separate --input={ours[0].path.parent}"
    yield f"   or: {KEY}=… proxmox-mcp setup n8n --url http://N8N:5678 --mcp-url URL [--apply]"


def _key(path: Path | None) -> str:
    """n8n's API key, from a file or the environment: others can read the command line of a process."""
    if path is None:
        if key := os.environ.get(KEY, "").strip():
            return key
        raise BridgeError("n8n's API key is missing.", cure=f"Make one in n8n (Settings, n8n API) and set {KEY}.")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BridgeError(f"{path} cannot be read: {error.strerror}.", cure="Correct --api-key-file.") from error
