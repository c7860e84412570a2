"""Every workflow obeys the rules that make it import, publish and work at once in somebody else's n8n.

What n8n itself says to them is tested by `make e2e-n8n`.
"""

import json
import re
import uuid
from typing import Any, get_args

import pytest

from mqtt_bridge import topics
from proxmox_mcp.tools import ALL
from tests.n8n.reading import (
    FOLDER,
    MCP,
    MCP_TOOLS,
    MQTT_IN,
    OPERATOR,
    Node,
    Workflow,
    all_of_them,
    arguments,
    named,
)  # fmt: skip

BASE, CHAIN = "n8n-nodes-base.", "@n8n/n8n-nodes-langchain."
CALL, CALLED = f"{BASE}executeWorkflow", f"{BASE}executeWorkflowTrigger"
# What n8n 2.41 has: type, newest version that is verified, credentials that it needs
VERSIONS = {
    f"{BASE}mqttTrigger": 1, f"{BASE}mqtt": 1, f"{BASE}scheduleTrigger": 1.2, f"{BASE}manualTrigger": 1,
    f"{BASE}errorTrigger": 1, f"{BASE}formTrigger": 2.6, f"{CHAIN}chatTrigger": 1.3, f"{BASE}set": 3.4,
    f"{BASE}code": 2, f"{BASE}if": 2.2, f"{BASE}switch": 3.2, f"{BASE}splitInBatches": 3, f"{BASE}wait": 1.1,
    f"{BASE}removeDuplicates": 2, f"{BASE}stopAndError": 1, f"{BASE}emailSend": 2.1, f"{BASE}discord": 2,
    f"{BASE}discordHitlTool": 2, f"{BASE}crypto": 2, f"{CHAIN}agent": 3.1, f"{CHAIN}chainLlm": 1.7,
    f"{CHAIN}lmChatOpenAi": 1.3, f"{CHAIN}memoryBufferWindow": 1.3, f"{CHAIN}chat": 1.3, MCP: 1.1, MCP_TOOLS: 1.2,
    f"{CHAIN}toolCode": 1.3, f"{BASE}telegram": 1.2, f"{BASE}telegramTrigger": 1.5, CALL: 1.2, CALLED: 1.1,
}  # fmt: skip
CREDENTIALS = {
    "Proxmox MQTT": "mqtt", "Proxmox MCP bearer": "httpBearerAuth", "Proxmox MCP operator": "httpBearerAuth",
    "LLM (OpenAI-compatible)": "openAiApi", "Discord bot": "discordBotApi", "Mail (SMTP)": "smtp",
    "Proxmox approver": "crypto", "Telegram bot": "telegramApi",
}  # fmt: skip
NEEDS = {
    f"{BASE}mqttTrigger": "mqtt", f"{BASE}mqtt": "mqtt", MCP: "httpBearerAuth", MCP_TOOLS: "httpBearerAuth",
    f"{CHAIN}lmChatOpenAi": "openAiApi", f"{BASE}discord": "discordBotApi", f"{BASE}discordHitlTool": "discordBotApi",
    f"{BASE}emailSend": "smtp", f"{BASE}crypto": "crypto", f"{BASE}telegram": "telegramApi",
    f"{BASE}telegramTrigger": "telegramApi",
}  # fmt: skip
# What a node's name begins with; what only serves another node has the name of a thing
VERBS = frozenset({
    "Add", "Ask", "Answer", "Back", "Bring", "Choose", "Collect", "Command", "Compose", "Decide", "Describe",
    "Fetch", "Find", "Give", "Let", "List", "Look", "Migrate", "Note", "Pick", "Prepare", "Publish",
    "Judge", "Put", "Read", "Reboot", "Report", "Review", "Run", "Say", "Send", "Show", "Sign", "Skip", "Start", "Stop",
    "Summarise", "Take", "Tell", "Triage", "Try", "Wait", "Word", "Can", "Did", "Does", "Has", "Is", "Shall",
    "Was", "Every", "On", "When",
})  # fmt: skip
THINGS = frozenset({"Config", "Chat model", "Conversation memory", "Proxmox", "Proxmox (reviewed)"})
KEYS = {"id", "name", "nodes", "connections", "settings", "pinData", "tags", "active"}
ERRORS = "proxmoxErrors"
TOOLS = {tool.name: tool for tool in ALL}
ELSEWHERE = re.compile(r"https?://|\b\d{1,3}(?:\.\d{1,3}){3}\b|\$env\b|\brequire\(|\bfetch\(")

CONFIGURED = (r"\$\('Config'\)\.first\(\)\.json\.(\w+)", r"config\.(\w+)")

every = pytest.mark.parametrize("one", all_of_them(), ids=lambda one: one.path.stem)


def test_there_are_all_eight_and_the_chat_has_an_agent_and_three_channels() -> None:
    names = [one.path.name for one in all_of_them()]
    assert {name[0] for name in names} == set("12345678")
    assert [name for name in names if name[0] == "2"] == [
        "2-chat-agent.json", "2-chat-discord.json", "2-chat-telegram.json", "2-chat.json",
    ]  # fmt: skip
    assert len(names) == 11
    assert len({one.raw["id"] for one in all_of_them()}) == 11


def test_there_is_one_agent_for_all_chats_and_it_alone_can_change_anything() -> None:
    agent, *channels = (one for one in all_of_them() if one.path.name[0] == "2")
    assert any(node["type"] == CALLED for node in agent.nodes)
    for one in channels:
        called = [node["parameters"]["workflowId"]["value"] for node in one.nodes if node["type"] == CALL]
        assert agent.raw["id"] in called
        assert set(called) <= {agent.raw["id"], "={{ $workflow.id }}"}, "no id of somebody's n8n"
        assert one.tools == set()
        assert "LLM (OpenAI-compatible)" not in one.credentials


def test_what_the_chats_model_may_ask_for_is_what_is_done_and_what_the_tools_take() -> None:
    (agent,) = (one for one in all_of_them() if one.path.name == "2-chat-agent.json")
    (ask,) = (node for node in agent.nodes if node["type"] == f"{CHAIN}toolCode")
    schema = json.loads(ask["parameters"]["inputSchema"])["properties"]
    done = {named(node)[0] for node in agent.nodes if node["type"] == MCP}
    assert set(schema["action"]["enum"]) == done
    for text in (ask["parameters"]["jsCode"], json.dumps(agent.raw["nodes"])):
        assert all(tool in text for tool in done)
    for tool in done:
        fields = TOOLS[tool].arguments.model_fields
        assert {"vmid", "approval"} <= set(fields)
    commands = [TOOLS[f"execute_{kind}_command"].arguments.model_fields["command"] for kind in ("vm", "lxc")]
    for command in commands:
        assert set(schema["command"]["enum"]) <= set(get_args(command.annotation))
    assert "name" in TOOLS["create_snapshot"].arguments.model_fields
    assert "storage" in TOOLS["create_backup"].arguments.model_fields
    shown = " ".join(node["parameters"]["jsCode"] for node in agent.nodes if node["name"] == "Word the answer")
    assert str(schema["command"]["enum"]) in shown, "the same commands are let through afterwards"


@every
def test_the_frame_is_what_import_and_publishing_take(one: Workflow) -> None:
    raw = one.raw
    assert set(raw) == KEYS
    assert re.fullmatch(r"proxmox[A-Z]\w+", raw["id"])
    assert (raw["active"], raw["pinData"], raw["tags"]) == (False, {}, [])
    assert raw["settings"]["executionOrder"] == "v1"
    assert raw["settings"].get("errorWorkflow") == (None if raw["id"] == ERRORS else ERRORS)
    assert set(raw["settings"]) <= {"executionOrder", "errorWorkflow", "saveDataSuccessExecution"}
    polls = any(rule.get("field") == "seconds" for node in one.nodes for rule in intervals(node))
    kept = raw["settings"].get("saveDataSuccessExecution", "all")
    assert kept == ("none" if polls else "all"), "what runs all the time fills n8n's list of executions"


def intervals(node: Node) -> list[dict[str, Any]]:
    scheduled = node["type"] == f"{BASE}scheduleTrigger"
    return list(node["parameters"]["rule"]["interval"]) if scheduled else []


@every
def test_nodes_are_known_named_and_have_ids_of_their_own(one: Workflow) -> None:
    names = [node["name"] for node in one.raw["nodes"]]
    ids = [node["id"] for node in one.raw["nodes"]] + [node["webhookId"] for node in one.nodes if "webhookId" in node]
    assert len(set(names)) == len(names)
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(given)) == given for given in ids)
    for node in one.nodes:
        assert node["typeVersion"] == VERSIONS[node["type"]], node["name"]
        assert node["name"] in THINGS or node["name"].split()[0] in VERBS, node["name"]


@every
def test_credentials_are_bound_by_their_documented_names(one: Workflow) -> None:
    for node in one.nodes:
        given = node.get("credentials", {})
        assert set(given) == ({NEEDS[node["type"]]} if node["type"] in NEEDS else set()), node["name"]
        for kind, credential in given.items():
            assert set(credential) == {"id", "name"}
            assert credential["id"] is None
            assert CREDENTIALS[credential["name"]] == kind


@every
def test_what_differs_between_installations_is_in_the_config_node_alone(one: Workflow) -> None:
    (config,) = (node for node in one.nodes if node["name"] == "Config")
    rows = {row["name"] for row in config["parameters"]["assignments"]["assignments"]}
    others = json.dumps([node for node in one.nodes if node is not config])
    assert not ELSEWHERE.search(others), ELSEWHERE.search(others)
    used = {name for way in CONFIGURED for name in re.findall(way, others)}
    assert "mcpUrl" not in rows or config["parameters"]["includeOtherFields"]
    assert used - rows <= {"site", "node", "targets", "back"}, "these come with the form"
    assert rows <= used | {"lookback", "deciders", "site"}
    for node in one.nodes:
        if node["type"] in {MCP, MCP_TOOLS}:
            assert node["parameters"]["endpointUrl"] == "={{ $('Config').first().json.mcpUrl }}"


@every
def test_the_note_says_purpose_set_up_credentials_and_the_worst(one: Workflow) -> None:
    (note,) = one.notes
    assert note.startswith("## ")
    for text in ("**Set up**", "*Config*", "**At worst**", *(f"*{name}*" for name in one.credentials)):
        assert text in note, text
    if any(node["type"].endswith("lmChatOpenAi") for node in one.nodes):
        assert "Anthropic" in note
        assert "Ollama" in note


@every
def test_everything_is_connected_and_errors_lead_somewhere(one: Workflow) -> None:
    names = {node["name"] for node in one.nodes}
    linked = [(source, target) for _, source, target in one.links]
    assert {name for link in linked for name in link} == names
    for node in one.nodes:
        if node["type"] in {MCP, f"{CHAIN}agent", f"{CHAIN}chainLlm"} and not node.get("onError"):
            # n8n hands a failure of these on as if it were the input: what is not caught has to end the execution
            assert one.raw["settings"].get("errorWorkflow") == ERRORS
        assert node.get("onError") in {None, "continueRegularOutput"}, "the error output does not get what is thrown"
    assert any(node.get("onError") for node in one.nodes) or one.path.name.startswith("3")


@every
def test_topics_exist(one: Workflow) -> None:
    ours = topics.Topics()
    for topic in one.published:
        parsed = ours.parse(topic)
        assert parsed is not None, topic
        assert parsed.kind.inbound or parsed.kind.name == "triage", topic
    for topic in one.listened:
        example = topic.replace("+", "x").replace("#", "x")
        parsed = ours.parse(example)
        assert parsed is not None, topic
        assert topic.startswith("proxmox/+/"), "any site"
        assert parsed.kind.name in {"event", "approval", "result"}


@every
def test_tools_exist_take_these_arguments_and_no_node_offers_all(one: Workflow) -> None:
    for node in one.nodes:
        if node["type"] not in {MCP, MCP_TOOLS}:
            continue
        tools = named(node)
        assert tools, f"{node['name']}: an empty list offers everything"
        assert set(tools) <= set(TOOLS), node["name"]
        assert node["parameters"]["authentication"] == "bearerAuth"
        if node["type"] == MCP_TOOLS:
            assert node["parameters"]["include"] == "selected"
        else:
            (tool,) = tools
            given = arguments(node["parameters"]["jsonInput"])
            assert given <= set(TOOLS[tool].arguments.model_fields), node["name"]


@every
def test_only_an_operators_node_changes_anything_and_only_behind_a_person(one: Workflow) -> None:
    kinds = {node["name"]: node["type"] for node in one.nodes}
    for node in one.nodes:
        risky = [tool for tool in named(node) if not TOOLS[tool].read_only]
        if not risky:
            continue
        (credential,) = node["credentials"].values()
        assert credential["name"] == OPERATOR, node["name"]
        if node["type"] == MCP_TOOLS:
            targets = [kinds[target] for _, source, target in one.links if source == node["name"]]
            assert targets, node["name"]
            assert all(kind.endswith("HitlTool") for kind in targets), f"{node['name']} goes past the review"


@every
def test_events_come_reliably(one: Workflow) -> None:
    for node in one.nodes:
        if node["type"] == MQTT_IN:
            assert all(topic.endswith(":1") for topic in node["parameters"]["topics"].split(",")), "QoS 1"
            assert node["parameters"]["options"] == {"jsonParseBody": True}


def test_the_readme_has_a_row_for_each() -> None:
    rows = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    for one in all_of_them():
        (row,) = (line for line in rows if line.startswith("|") and f"({one.path.name})" in line)
        for wanted in (*one.tools, *one.credentials, *one.listened):
            assert f"`{wanted}`" in row or f"*{wanted}*" in row, f"{one.path.name}: {wanted}"


def test_the_reader_of_arguments_reads_them() -> None:
    text = "={{ { vmid: $('A b').first().json.vmid, note: `${x}h: ok`, deep: { in: 1 }, if: a ? b : c } }}"
    assert arguments(text) == {"vmid", "note", "deep", "if"}
    assert arguments("={{ {} }}") == set()
