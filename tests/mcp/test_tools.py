"""The reading tools through the SDK's client, in both protocol eras."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from mqtt_bridge.model import TaskList
from mqtt_bridge.settings import McpSettings, PermissionSettings, Settings
from proxmox_mcp import schema
from proxmox_mcp import tools as table
from proxmox_mcp.server import ProxmoxServer, build_server
from proxmox_mcp.state import State
from proxmox_mcp.tools import ALL, MODULES, selected
from proxmox_mcp.tools.base import MOST
from tests.mcp.conftest import Eventually
from tests.support.asking import ask, refused, text
from tests.support.held import held
from tests.support.site import Site, now

Mode = Literal["auto", "legacy"]
READS = [tool.name for tool in ALL if tool.read_only]
CORE = {
    "get_cluster_status", "get_nodes", "get_node_status", "get_vms", "get_lxcs", "get_guest", "get_storage",
    "get_recent_tasks", "get_task", "get_events", "run_diagnostic", "test_connectivity", "get_backup_info",
    "get_network_info", "get_permissions", "get_approvals",
}  # fmt: skip
MIRRORED = sorted(
    CORE - {"get_guest", "get_node_status", "get_task", "test_connectivity", "get_permissions", "get_approvals"}
    | {"get_datastores"}
)


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def client(server: ProxmoxServer, mode: Mode) -> AsyncIterator[Client]:
    async with held(Client(server, mode=mode)) as connected:
        yield connected


async def test_the_tools_that_read_are_listed_and_no_others(client: Client) -> None:
    tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == set(READS)
    assert set(READS) >= CORE


async def test_every_tool_describes_itself(client: Client) -> None:
    for tool in (await client.list_tools()).tools:
        assert tool.title
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
        assert tool.annotations.destructive_hint is False
        assert tool.output_schema is not None
        assert "tool" not in tool.input_schema["properties"]


def test_schemas_do_not_drift() -> None:
    """`scripts/make_docs.py` writes them anew; look at what that changes for those who call these tools."""
    assert schema.stored() == {tool.name: schema.made(tool) for tool in ALL}


def test_names_are_unique_and_control_tools_are_not_called_reads() -> None:
    assert len({tool.name for tool in ALL}) == len(ALL)
    for tool in ALL:
        assert tool.read_only == tool.name.startswith(("get_", "list_", "test_", "generate_", "run_diagnostic"))
        assert tool.destructive or tool.risk not in {"destroy", "exec"}
        assert not (tool.destructive and tool.read_only)


@pytest.mark.parametrize("tool", MIRRORED)
async def test_every_read_tells_how_fresh_it_is(client: Client, tool: str) -> None:
    answer = await ask(client, tool)
    assert answer["as_of"] is not None
    assert answer["age_s"] < 10
    assert (answer["stale"], answer["complete"], answer["source"]) == (False, True, "mqtt")


async def test_vms_and_containers_are_told_apart(client: Client) -> None:
    vms, lxcs = await ask(client, "get_vms"), await ask(client, "get_lxcs")
    assert vms["total"] + lxcs["total"] == 24
    assert {g["type"] for g in vms["guests"]} == {"qemu"}
    assert vms["totals"]["running"] + vms["totals"]["stopped"] == vms["total"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": "stopped"}, lambda g: g["status"] == "stopped"),
        ({"node": "pve1"}, lambda g: g["node"] == "pve1"),
        ({"tag": "PROD"}, lambda g: "prod" in g["tags"]),
        ({"pool": "prod"}, lambda g: g["pool"] == "prod"),
        ({"name": "GUEST10*"}, lambda g: g["name"].startswith("guest10")),
        ({"site": "lab", "status": "running", "tag": "web"}, lambda g: g["status"] == "running" and "web" in g["tags"]),
    ],
)
async def test_filters(client: Client, filters: dict[str, str], expected: Any) -> None:
    everything = (await ask(client, "get_vms"))["guests"]
    found = (await ask(client, "get_vms", **filters))["guests"]
    assert found == [g for g in everything if expected(g)]
    assert 0 < len(found) < len(everything)


async def test_pages_join_to_the_whole(client: Client) -> None:
    whole = [g["vmid"] for g in (await ask(client, "get_vms"))["guests"]]
    pages, cursor = [], None
    while True:
        page = await ask(client, "get_vms", limit=5, **({"cursor": cursor} if cursor else {}))
        assert page["total"] == len(whole)
        pages += [g["vmid"] for g in page["guests"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["guests"]) == 5
    assert pages == whole


@pytest.mark.parametrize("vmid", [100, "100", " 100 "])
async def test_a_guest_is_found_by_its_vmid_alone(client: Client, vmid: int | str) -> None:
    answer = await ask(client, "get_guest", vmid=vmid)
    assert answer["guest"]["name"] == "guest100"
    assert answer["metrics"]["cpu_percent"] == 3.5
    assert answer["node_status"] == "online"
    assert [t["upid"].split(":")[6] for t in answer["tasks"]] == ["100"]


async def test_a_vmid_on_two_sites_is_ambiguous(
    client: Client, site: Site, state: State, eventually: Eventually
) -> None:
    await Site(site.bus, slug="other", guests=3).publish()
    assert state.primary is not None
    primary = state.primary
    await eventually(lambda: ("other", "guest") in primary.store.tables and primary.site_complete("other"))
    said = await refused(client, "get_guest", vmid=100)
    assert "site lab" in said
    assert "site other" in said
    assert (await ask(client, "get_guest", vmid=100, site="other"))["guest"]["site"] == "other"
    assert (await ask(client, "get_guest", vmid=110))["guest"]["site"] == "lab"


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("get_guest", {"vmid": 999}, r"no guest 999.*Nearest VMIDs: 123"),
        ("get_guest", {"vmid": 100, "node": "pve9"}, r"no guest 100 on node pve9.*It is on node"),
        ("get_guest", {"vmid": "abc"}, r"'vmid' of get_guest is not right"),
        ("get_guest", {}, r"needs the argument 'vmid'"),
        ("get_guest", {"vmid": 100, "nod": "pve1"}, r"has no argument 'nod'. It takes: vmid, node, site"),
        ("get_vms", {"site": "nowhere"}, r"no site 'nowhere'. Sites: lab"),
        ("get_vms", {"limit": 0}, r"'limit' of get_vms is not right"),
        ("get_vms", {"limit": MOST + 1}, r"'limit' of get_vms is not right"),
        ("get_vms", {"cursor": "nonsense"}, r"cursor is not valid"),
        ("get_vms", {"status": "on"}, r"'status' of get_vms is not right"),
        ("get_node_status", {"node": "pve9"}, r"no node 'pve9'. Nodes: pve1, pve2, pve3"),
        ("run_diagnostic", {"checks": ["horoscope"]}, r"no check 'horoscope'. Checks:"),
        ("get_task", {"upid": "nonsense"}, r"Copy it from a list of tasks"),
        ("get_guest", {"vmid": 100, "config": True}, r"site 'lab' are not configured here"),
        ("get_vmz", {}, r"no tool 'get_vmz'. Near: get_vms"),
        ("execute_vm_command", {"vmid": 100, "command": "start"}, r"needs the level 'operate'.*Set MCP_ALLOW=operate"),
    ],
)
async def test_errors_are_one_sentence_that_helps(
    client: Client, tool: str, arguments: dict[str, Any], says: str
) -> None:
    said = await refused(client, tool, **arguments)
    assert re.search(says, said), said
    assert "\n" not in said


async def test_what_n8n_adds_is_ignored(client: Client) -> None:
    assert (await ask(client, "get_guest", vmid=100, sessionId="x", chatInput="y", toolCallId="z"))["guest"]


async def test_the_text_is_short_and_not_the_json_again(client: Client) -> None:
    result = await client.call_tool("get_vms", {})
    lines = text(result).splitlines()
    assert re.match(r"16 guests: \d+ running", lines[0])
    assert lines[1].startswith("vmid | name")
    assert len(lines) == 18
    assert len(text(result)) < len(json.dumps(result.structured_content)) / 3


async def test_diagnosis_names_what_is_wrong(client: Client, site: Site, state: State) -> None:
    await site.put("guest", site.guest(100, backup_covered=False, lock="backup"), vmid=100)
    await site.put("shared_storage", site.storage(None, used_percent=97.0), storage="nfs")
    answer = await ask(client, "run_diagnostic")
    found = {f["check"]: f for f in answer["findings"]}
    assert answer["verdict"] == "critical"
    assert found["storage"]["severity"] == "critical"
    assert "VM 100" in found["backup_coverage"]["evidence"]
    assert "failed in the last day" in found["failed_tasks"]["title"]
    assert all(f["remedy"] for f in answer["findings"])
    only = await ask(client, "run_diagnostic", checks=["storage"])
    assert {f["check"] for f in only["findings"]} == {"storage"}


async def test_backups_tell_unknown_from_none(client: Client, site: Site) -> None:
    await site.put("guest", site.guest(100, backup_covered=None, last_backup=None), vmid=100)
    await site.put("guest", site.guest(101, backup_covered=False, last_backup=now(86_400 * 40)), vmid=101)
    answer = await ask(client, "get_backup_info")
    assert (answer["covered"], answer["uncovered"], answer["unknown"]) == (22, 1, 1)
    assert [g["vmid"] for g in answer["guests"][:2]] == [100, 101]
    assert answer["guests"][1]["age_days"] == pytest.approx(40, abs=0.1)
    assert "none is known" in " ".join(answer["notes"])
    assert len(answer["failed_tasks"]) == 1
    old = await ask(client, "get_backup_info", older_than_days=30)
    assert [g["vmid"] for g in old["guests"]] == [100, 101]


async def test_tasks_are_filtered(client: Client, site: Site) -> None:
    tasks = tuple(site.task(n, type="qmstart" if n % 2 else "vzdump", user=f"user{n}@pam") for n in range(6))
    await site.put("tasks", TaskList(tasks=tasks))
    assert (await ask(client, "get_recent_tasks"))["total"] == 6
    assert [t["user"] for t in (await ask(client, "get_recent_tasks", type="qm*"))["tasks"]] == [
        "user1@pam", "user3@pam", "user5@pam",
    ]  # fmt: skip
    assert (await ask(client, "get_recent_tasks", vmid=103))["total"] == 1
    assert (await ask(client, "get_recent_tasks", since=now(150)))["total"] == 2


async def test_addresses(client: Client) -> None:
    answer = await ask(client, "get_network_info", address="10.0.0.*", node="pve1")
    assert answer["guests"]
    assert all(g["ips"] == ["10.0.0.1"] for g in answer["guests"])
    stopped = await ask(client, "get_network_info", vmid=103)
    assert stopped["guests"][0]["ips"] is None


async def test_resources_are_read_by_their_uri(client: Client) -> None:
    uris = {str(r.uri) for r in (await client.list_resources()).resources}
    assert {"proxmox://lab", "proxmox://lab/node/pve1", "proxmox://lab/guest/100", "proxmox://lab/events"} <= uris
    for uri, key in [
        ("proxmox://lab/guest/100", "guest"),
        ("proxmox://lab/node/pve1", "state"),
        ("proxmox://lab", "sites"),
    ]:
        contents = (await client.read_resource(uri)).contents[0]
        assert isinstance(contents, types.TextResourceContents)
        assert json.loads(contents.text)[key]


@pytest.mark.parametrize("uri", ["proxmox://lab/guest/999", "proxmox://nowhere", "proxmox://lab/guest/x", "http://lab"])
async def test_a_resource_that_is_not_there(client: Client, uri: str) -> None:
    with pytest.raises(MCPError) as error:
        await client.read_resource(uri)
    assert error.value.error.code == types.INVALID_PARAMS


async def test_an_unknown_prompt_is_wrong_parameters(client: Client) -> None:
    with pytest.raises(MCPError, match="no prompt 'nonsense'") as error:
        await client.get_prompt("nonsense", {})
    assert error.value.code == types.INVALID_PARAMS


async def test_a_prefix_is_before_every_name(state: State) -> None:
    settings = Settings(mcp=McpSettings(tool_prefix="pve_", toolsets=frozenset({"core"})))
    async with Client(build_server(settings, state)) as client:
        assert {t.name for t in (await client.list_tools()).tools} == {f"pve_{name}" for name in CORE}
        assert "called 'pve_get_vms'" in await refused(client, "get_vms")
        prompt = (await client.get_prompt("health_check", {})).messages[0].content
        assert isinstance(prompt, types.TextContent)
        assert "pve_run_diagnostic" in prompt.text


@pytest.mark.parametrize(
    ("toolsets", "level", "expected"),
    [
        ({"core", "power"}, "read", CORE),
        ({"core", "power"}, "operate", CORE | {"execute_vm_command", "execute_lxc_command", "execute_node_command"}),
        ({"power"}, "exec", {"execute_vm_command", "execute_lxc_command", "execute_node_command"}),
        ({"get_guest"}, "exec", {"get_guest"}),
    ],
)
async def test_toolsets_and_levels_decide_what_is_listed(
    state: State, toolsets: set[str], level: Any, expected: set[str]
) -> None:
    settings = Settings(mcp=McpSettings(toolsets=frozenset(toolsets)), permission=PermissionSettings(mcp_allow=level))
    async with Client(build_server(settings, state)) as client:
        tools = (await client.list_tools()).tools
        assert {t.name for t in tools} == expected
        for tool in tools:
            if tool.name.startswith("execute_"):
                assert tool.annotations is not None
                assert tool.annotations.read_only_hint is False
                assert tool.annotations.destructive_hint is True
        if "get_vms" not in expected:
            assert "MCP_TOOLSETS" in await refused(client, "get_vms")


def test_a_module_holds_one_toolset_and_is_imported_when_that_is_asked_for() -> None:
    code = "import sys; from proxmox_mcp import tools; tools.selected({'power'}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    listed = [name for modules in MODULES.values() for name in modules]
    files = Path(table.__file__).parent.glob("*.py")
    assert sorted(listed) == sorted(f.stem for f in files if "\nTOOLS" in f.read_text(encoding="utf-8"))
    ours = {name for name in listed if f"proxmox_mcp.tools.{name}" in loaded}
    assert ours == {"power"}
    found = {toolset: {tool.toolset for tool in ALL if tool.selected({toolset})} for toolset in MODULES}
    assert found == {toolset: {toolset} for toolset in MODULES}
    assert [tool.toolset for tool in ALL] == sorted([tool.toolset for tool in ALL], key=[*MODULES].index)
    assert {tool.name for tool in selected({"power", "get_vms"})} == {"get_vms"} | {
        tool.name for tool in selected({"power"})
    }
