"""Every workflow obeys the rules that make it import, publish and work at once in somebody else's n8n.

What n8n itself says to them is tested by `make e2e-n8n`.
"""

import json
import re
import uuid

import pytest

from mqtt_bridge import topics
from proxmox_mcp.tools import ALL
from tests.n8n.reading import FOLDER, MCP, MCP_TOOLS, MQTT_IN, OPERATOR, Workflow, all_of_them, arguments, named

BASE, CHAIN = "n8n-nodes-base.", "@n8n/n8n-nodes-langchain."
# What n8n 2.41 has: type, newest version that is verified, credentials that it needs
VERSIONS = {
    f"{BASE}mqttTrigger": 1, f"{BASE}mqtt": 1, f"{BASE}scheduleTrigger": 1.2, f"{BASE}manualTrigger": 1,
    f"{BASE}errorTrigger": 1, f"{BASE}formTrigger": 2.6, f"{CHAIN}chatTrigger": 1.3, f"{BASE}set": 3.4,
    f"{BASE}code": 2, f"{BASE}if": 2.2, f"{BASE}switch": 3.2, f"{BASE}splitInBatches": 3, f"{BASE}wait": 1.1,
    f"{BASE}removeDuplicates": 2, f"{BASE}stopAndError": 1, f"{BASE}emailSend": 2.1, f"{BASE}discord": 2,
    f"{BASE}discordHitlTool": 2, f"{BASE}crypto": 2, f"{CHAIN}agent": 3.1, f"{CHAIN}chainLlm": 1.7,
    f"{CHAIN}lmChatOpenAi": 1.3, f"{CHAIN}memoryBufferWindow": 1.3, f"{CHAIN}chat": 1.3, MCP: 1.1, MCP_TOOLS: 1.2,
}  # fmt: skip
CREDENTIALS = {
    "Proxmox MQTT": "mqtt", "Proxmox MCP bearer": "httpBearerAuth", "Proxmox MCP operator": "httpBearerAuth",
    "LLM (OpenAI-compatible)": "openAiApi", "Discord bot": "discordBotApi", "Mail (SMTP)": "smtp",
    "Proxmox approver": "crypto",
}  # fmt: skip
NEEDS = {
    f"{BASE}mqttTrigger": "mqtt", f"{BASE}mqtt": "mqtt", MCP: "httpBearerAuth", MCP_TOOLS: "httpBearerAuth",
    f"{CHAIN}lmChatOpenAi": "openAiApi", f"{BASE}discord": "discordBotApi", f"{BASE}discordHitlTool": "discordBotApi",
    f"{BASE}emailSend": "smtp", f"{BASE}crypto": "crypto",
}  # fmt: skip
# What a node's name begins with; what only serves another node has the name of a thing
VERBS = frozenset({
    "Add", "Ask", "Answer", "Back", "Bring", "Choose", "Collect", "Command", "Compose", "Decide", "Describe",
    "Fetch", "Find", "Give", "Judge", "Let", "List", "Look", "Migrate", "Note", "Pick", "Prepare", "Publish",
    "Put", "Read", "Reboot", "Report", "Review", "Run", "Say", "Send", "Show", "Sign", "Skip", "Start", "Stop",
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


def test_there_are_all_eight() -> None:
    assert [one.path.name[0] for one in all_of_them()] == list("12345678")
    assert len({one.raw["id"] for one in all_of_them()}) == 8


@every
def test_the_frame_is_what_import_and_publishing_take(one: Workflow) -> None:
    raw = one.raw
    assert set(raw) == KEYS
    assert re.fullmatch(r"proxmox[A-Z]\w+", raw["id"])
    assert (raw["active"], raw["pinData"], raw["tags"]) == (False, {}, [])
    assert raw["settings"]["executionOrder"] == "v1"
    assert raw["settings"].get("errorWorkflow") == (None if raw["id"] == ERRORS else ERRORS)
    assert set(raw["settings"]) <= {"executionOrder", "errorWorkflow"}


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
        assert parsed.kind.name in {"event", "approval"}


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
