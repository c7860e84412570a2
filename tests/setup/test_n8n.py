"""`proxmox-mcp setup n8n`: what it prints, and what it makes of an n8n that has this and that already."""

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.settings import load
from proxmox_mcp.setup.n8n import FOLDER, config, instructions, workflows
from proxmox_mcp.setup.n8n_api import Api, N8nError
from proxmox_mcp.setup.n8n_plan import plan

KEY = "key-of-n8n"
OURS = workflows(FOLDER)
NAMES = {name for one in OURS for name in one.credentials}
HOST = {
    "PROXMOX_HOST": "192.0.2.1", "PROXMOX_USER": "a@pve", "PROXMOX_TOKEN_NAME": "x",
    "PROXMOX_TOKEN_VALUE": "00000000-0000-0000-0000-000000000000", "PROXMOX_SITE": "home",
}  # fmt: skip


@dataclass
class N8n:
    """Its public API, as far as it is used; strict about which fields it takes, as the real one is."""

    credentials: set[str] = field(default_factory=lambda: set(NAMES))
    workflows: dict[str, dict[str, Any]] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        if request.headers.get("X-N8N-API-KEY") != KEY:
            return web.json_response({"message": "unauthorized"}, status=401)
        if request.headers.get("Content-Type", "application/json") != "application/json":
            return web.json_response({"message": "unsupported media type"}, status=415)
        parts = request.path.removeprefix("/api/v1/").split("/")
        if parts == ["credentials"]:
            return web.json_response(
                {"data": [{"name": name} for name in sorted(self.credentials)], "nextCursor": None}
            )
        if request.method == "GET" and parts == ["workflows"]:
            first, cursor = 3, int(request.query.get("cursor", "0"))
            rows = [{"id": k, "name": v["name"]} for k, v in self.workflows.items()]
            more = str(cursor + first) if cursor + first < len(rows) else None
            return web.json_response({"data": rows[cursor : cursor + first], "nextCursor": more})
        if request.method == "GET":
            long = "x" * 300_000  # so that an answer comes in many parts
            return web.json_response({**self.workflows[parts[1]], "staticData": long})
        return self.changed(parts, {} if parts[-1] == "activate" else await request.json())

    def changed(self, parts: list[str], body: dict[str, Any]) -> web.Response:
        if parts[-1] == "activate":
            self.published.append(self.workflows[parts[1]]["name"])
            return web.json_response({})
        if set(body) != {"name", "nodes", "connections", "settings"}:
            return web.json_response({"message": "request/body must NOT have additional properties"}, status=400)
        given = parts[1] if len(parts) > 1 else f"new{len(self.workflows)}"
        self.workflows[given] = {**body, "id": given}
        return web.json_response(self.workflows[given])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Api]:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Api(self.url, KEY) as api:
            yield api
        await runner.cleanup()


async def applied(there: N8n, **known: str) -> list[tuple[bool, str]]:
    async with there.running() as api:
        made = await plan(api, OURS, known)
        return [one async for one in made.apply(api)]


async def test_an_empty_n8n_gets_all_with_config_and_error_workflow_and_the_second_time_nothing() -> None:
    there = N8n()
    assert all(ok for ok, _ in await applied(there, mcpUrl="http://mcp:8080/mcp", site="home"))
    assert there.published[0].startswith("Proxmox 8")
    assert len(there.published) == 11
    by_name = {one["name"]: one for one in there.workflows.values()}
    errors = next(one["id"] for name, one in by_name.items() if name.startswith("Proxmox 8"))
    for name, one in by_name.items():
        assert one["settings"].get("errorWorkflow") == (None if name.startswith("Proxmox 8") else errors)
    assert "http://mcp:8080/mcp" in json.dumps(by_name["Proxmox 4: daily health report"])
    agent = by_name["Proxmox 2a: the agent of the chats"]["id"]
    for name in ("Proxmox 2: chat with the infrastructure", "Proxmox 2b: chat in Discord"):
        called = [
            n["parameters"]["workflowId"]["value"] for n in by_name[name]["nodes"] if n["name"] == "Ask the agent"
        ]
        assert called == [agent], "n8n gives ids of its own"
        assert there.published.index("Proxmox 2a: the agent of the chats") < there.published.index(name)

    there.asked.clear()
    async with there.running() as api:
        again = await plan(api, OURS, {"mcpUrl": "http://elsewhere/mcp"})
        assert {step.state for step in again.steps} == {"same"}, list(again.told())
        assert all([ok async for ok, _ in again.apply(api)])
    assert not [one for one in there.asked if one.startswith(("PUT", "POST")) and not one.endswith("/activate")]


async def test_what_differs_is_told_first_and_what_was_filled_in_stays() -> None:
    there = N8n()
    await applied(there, site="home")
    old = next(one for one in there.workflows.values() if one["name"].startswith("Proxmox 4"))
    old["nodes"] = [node for node in copy.deepcopy(old["nodes"]) if node["name"] != "Send the mail"]
    for node in old["nodes"]:
        node["position"] = [1, 1]  # somebody tidied up: no difference
        if node["name"] == "Config":
            node["parameters"]["assignments"]["assignments"][4]["value"] = "boss@example.org"
    async with there.running() as api:
        made = await plan(api, OURS, {"site": "other"})
        told = "\n".join(made.told())
        assert "~ Proxmox 4: daily health report (changed)" in told
        assert "    + Send the mail" in told
        assert told.count("(same)") == 10
        assert "PUT" not in " ".join(there.asked[-20:])
        assert all([ok async for ok, _ in made.apply(api)])
    new = json.dumps(there.workflows[old["id"]])
    assert "boss@example.org" in new
    assert "Send the mail" in new
    assert '"value": "other"' not in new


async def test_one_without_its_credentials_is_imported_and_not_published() -> None:
    there = N8n(credentials=NAMES - {"Discord bot"})
    lines = await applied(there)
    assert any(not ok and "not published: Discord bot is missing" in line for ok, line in lines)
    assert len(there.workflows) == 11
    assert {name.partition(":")[0] for name in there.published} == {
        "Proxmox 2a", "Proxmox 2c", "Proxmox 4", "Proxmox 8",
    }  # fmt: skip


async def test_a_wrong_key_a_wrong_place_and_nobody_there() -> None:
    there = N8n()
    async with there.running():
        async with Api(there.url, "wrong") as api:
            with pytest.raises(N8nError, match="refuses the API key"):
                await plan(api, OURS, {})
        url = there.url
    async with Api(url, KEY) as api:
        with pytest.raises(N8nError, match="does not answer"):
            await plan(api, OURS, {})
    for wrong in ("192.0.2.1:5678", "ftp://n8n", "http://user:pw@n8n", "http://n8n/?x=1"):
        with pytest.raises(BridgeError, match="no address of n8n"):
            Api(wrong, KEY)


def test_the_instructions_name_tokens_url_and_every_credential() -> None:
    settings = load({**HOST, "MCP_HTTP_HOST": "127.0.0.1"}, search=False)
    text = "\n".join(instructions(settings, OURS))
    for wanted in ("token add n8n-reads --level read", "/mcp", "import:workflow --separate", *NAMES):
        assert wanted in text, wanted
    assert config(settings, "http://x/mcp") == {"base": "proxmox", "mcpUrl": "http://x/mcp", "site": "home"}
