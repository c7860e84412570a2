"""`get_approvals` shows what waits; no tool and no route decides."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import GeneralSettings, McpSettings, Settings
from proxmox_mcp.http import HttpServer
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
from proxmox_mcp.tools import ALL
from proxmox_mcp.tools.approvals import Which, get_approvals
from proxmox_mcp.tools.base import Call, Services
from tests.approvals.making import AGENT, SETTINGS, pending


async def nothing(_done: float, _total: float | None, _text: str) -> None: ...


class NoState:
    primary = None


def asking(folder: Path, **more: Any) -> Call:
    settings = Settings(general=GeneralSettings(state_dir=folder), approval=replace(SETTINGS, **more))
    state: State = NoState()  # type: ignore[assignment]
    return Call(Services(settings, state), AGENT, nothing)


async def test_what_waits_and_what_became_of_the_rest(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        waits, done = await pending(approvals), await pending(approvals, vmid=101)
        await approvals.decide(done.id, "approve", Decider("alice", "secret"))
        found = await get_approvals(asking(tmp_path), Which())
        assert [(row.id, row.state) for row in found.approvals] == [(waits.id, "pending")]
        assert found.approvers == ("alice", "bob")
        everything = await get_approvals(asking(tmp_path), Which(state="all"))
        assert {(row.id, row.state) for row in everything.approvals} == {(waits.id, "pending"), (done.id, "approved")}
        (one,) = (await get_approvals(asking(tmp_path), Which(id=done.id))).approvals
        assert (one.decided_by, one.decided_how) == ("alice", "secret")
        assert waits.id in found.text()
        assert (await get_approvals(asking(tmp_path), Which(site="other"))).total == 0


async def test_it_shows_neither_keys_nor_codes_nor_digests(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        await pending(approvals)
        shown = (await get_approvals(asking(tmp_path), Which())).model_dump_json()
        assert approvals.db.key.hex() not in shown
        assert all(one.key.reveal() not in shown for one in SETTINGS.approvers)
        assert "digest" not in json.loads(shown)["approvals"][0]


async def test_without_approvers_it_says_so(tmp_path: Path) -> None:
    found = await get_approvals(asking(tmp_path, approvers=()), Which())
    assert any("APPROVERS" in line for line in found.how)


@pytest.mark.parametrize("tool", [tool for tool in ALL if "approv" in tool.name], ids=lambda tool: tool.name)
def test_the_one_tool_on_approvals_reads(tool: Any) -> None:
    assert tool.name == "get_approvals"
    assert tool.read_only


def test_no_tool_takes_a_decision_a_code_or_a_secret() -> None:
    for tool in ALL:
        taken = set(tool.arguments.model_fields)
        assert not taken & {"decision", "approver", "secret", "proof", "code"}, tool.name


async def test_no_route_decides(tmp_path: Path) -> None:
    """What a good token reaches: MCP, health, metrics and the stream; nothing else, whatever it is called."""
    token = Secret("a-long-token-of-the-test")
    mcp = McpSettings(auth_token=token)
    settings = Settings(general=GeneralSettings(state_dir=tmp_path), approval=SETTINGS, mcp=mcp)
    async with Approvals(tmp_path, SETTINGS) as approvals, State(None) as state:
        waits = await pending(approvals)
        async with (
            HttpServer(build_server(settings, state), host="127.0.0.1", port=0) as running,
            httpx2.AsyncClient(base_url=running.url.removesuffix("/mcp"), trust_env=False) as web,
        ):
            for path in ("/approvals", f"/approval/{waits.id}", f"/approvals/{waits.id}/approve", f"/mcp/{waits.id}"):
                for method in ("GET", "POST", "PUT"):
                    headers = {"Authorization": f"Bearer {token.reveal()}"}
                    said = {"decision": "approve", "secret": "apr_alices-own-secret"}
                    answer = await web.request(method, path, json=said, headers=headers)
                    assert answer.status_code == 404, (method, path)
        assert [row.id for row in await approvals.pending()] == [waits.id]
