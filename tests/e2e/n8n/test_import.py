"""Each file is imported by the command line and by the API, finds its credentials by name, and is published."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.e2e.n8n.n8n import N8n
from tests.e2e.n8n.stage import WORKFLOWS, Ports, Stage, changed, workflow
from tests.support.processes import run

FILES = sorted(WORKFLOWS.glob("*.json"))
AGENT = "2-chat-agent"


def unbound(raw: dict[str, Any]) -> list[str]:
    """Nodes with a credential that n8n found no id for. For those that are switched off it looks for none."""
    on = [node for node in raw["nodes"] if not node.get("disabled")]
    return [node["name"] for node in on for one in (node.get("credentials") or {}).values() if not one.get("id")]


async def test_by_the_command_line(stage: Stage) -> None:
    for path in FILES:
        given = json.loads(path.read_text(encoding="utf-8"))["id"]
        imported = await stage.n8n.api("GET", f"/workflows/{given}")
        assert not imported["active"]
        assert unbound(imported) == [], path.name
    async with stage.published(*(path.stem for path in FILES if path.stem != AGENT), AGENT):
        active = (await stage.n8n.api("GET", "/workflows?active=true&limit=100"))["data"]
        assert len(active) == len(FILES), [one["name"] for one in active]


async def test_by_the_api(stage: Stage, n8n: N8n, ports: Ports) -> None:
    async with stage.published(AGENT):
        for path in FILES:
            made = await n8n.api("POST", "/workflows", changed(workflow(path.stem, ports)))
            try:
                assert unbound(made) == [], path.name
                await n8n.api("POST", f"/workflows/{made['id']}/activate")
                await n8n.api("POST", f"/workflows/{made['id']}/deactivate")
            finally:
                await n8n.delete(f"/workflows/{made['id']}")


async def test_setup_n8n_tells_the_difference_mends_it_and_publishes(stage: Stage, tmp_path: Path) -> None:
    raw = workflow("4-daily", stage.ports)
    lacking = changed(raw)
    lacking["nodes"] = [node for node in lacking["nodes"] if node["name"] != "Start by hand"]
    lacking["connections"] = {name: to for name, to in lacking["connections"].items() if name != "Start by hand"}
    await stage.n8n.api("PUT", f"/workflows/{raw['id']}", lacking)
    (tmp_path / "key").write_text(stage.n8n.key, encoding="utf-8")
    key = ("--api-key-file", str(tmp_path / "key"))
    words = ("proxmox-mcp", "setup", "n8n", "--url", stage.n8n.url, *key, "--folder", str(WORKFLOWS))
    try:
        looked = await asyncio.to_thread(run, *words, env=stage.server.env, cwd=tmp_path, seconds=120)
        assert looked.returncode == 0, looked.stderr
        assert "+ Start by hand" in looked.stdout
        assert looked.stdout.count("(same)") == 10, looked.stdout
        assert len((await stage.n8n.api("GET", f"/workflows/{raw['id']}"))["nodes"]) == len(raw["nodes"]) - 1
        done = await asyncio.to_thread(run, *words, "--apply", env=stage.server.env, cwd=tmp_path, seconds=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count(": published") == 11
        there = await stage.n8n.api("GET", f"/workflows/{raw['id']}")
        assert len(there["nodes"]) == len(raw["nodes"])
        assert there["active"]
        assert stage.ports.url in json.dumps(there), "what was filled in stays"
    finally:
        for path in reversed(FILES):
            await stage.n8n.api("POST", f"/workflows/{workflow(path.stem, stage.ports)['id']}/deactivate")
