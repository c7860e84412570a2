"""The workflows as data: nodes, connections, topics, tools."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "n8n_workflows"
EXPRESSION = re.compile(r"\{\{.*?\}\}")
MQTT_IN, MQTT_OUT, NOTE = "n8n-nodes-base.mqttTrigger", "n8n-nodes-base.mqtt", "n8n-nodes-base.stickyNote"
MCP, MCP_TOOLS = "@n8n/n8n-nodes-langchain.mcpClient", "@n8n/n8n-nodes-langchain.mcpClientTool"
OPERATOR = "Proxmox MCP operator"

Node = dict[str, Any]


@dataclass(frozen=True)
class Workflow:
    path: Path
    raw: dict[str, Any]

    @property
    def nodes(self) -> list[Node]:
        return [node for node in self.raw["nodes"] if node["type"] != NOTE]

    @property
    def notes(self) -> list[str]:
        return [node["parameters"]["content"] for node in self.raw["nodes"] if node["type"] == NOTE]

    @property
    def links(self) -> Iterator[tuple[str, str, str]]:
        """Kind, from, to."""
        for source, kinds in self.raw["connections"].items():
            for kind, outputs in kinds.items():
                yield from ((kind, source, link["node"]) for output in outputs for link in output)

    @property
    def credentials(self) -> set[str]:
        return {one["name"] for node in self.nodes for one in node.get("credentials", {}).values()}

    @property
    def listened(self) -> list[str]:
        """Topic filters, without the QoS that n8n wants behind them."""
        texts = [node["parameters"]["topics"] for node in self.nodes if node["type"] == MQTT_IN]
        return [topic.partition(":")[0] for text in texts for topic in text.split(",")]

    @property
    def published(self) -> list[str]:
        """Topics with `x` for each expression, but the base."""
        texts = [node["parameters"]["topic"] for node in self.nodes if node["type"] == MQTT_OUT]
        return [EXPRESSION.sub("x", text.removeprefix("=")).replace("x/", "proxmox/", 1) for text in texts]

    @property
    def tools(self) -> set[str]:
        return {tool for node in self.nodes for tool in named(node)}


def named(node: Node) -> list[str]:
    """The tools that a node names."""
    if node["type"] == MCP:
        return [node["parameters"]["tool"]["value"]]
    return list(node["parameters"]["includeTools"]) if node["type"] == MCP_TOOLS else []


def arguments(text: str) -> set[str]:
    """The keys of the object in an expression like `={{ { vmid: $json.vmid, site: 'x' } }}`, its own and not deeper."""
    found: set[str] = set()
    depth, word = 0, ""
    inner = re.sub(r"'[^']*'|`[^`]*`", "", text.removeprefix("={{").removesuffix("}}").strip())
    for letter in inner:
        depth += (letter in "{([") - (letter in "})]")
        if depth == 1 and letter in "{,":
            word = ""
        elif letter == ":" and depth == 1 and re.fullmatch(r"\w+", word.strip()):
            found.add(word.strip())
        else:
            word += letter
    return found


def all_of_them() -> list[Workflow]:
    return [Workflow(path, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.glob("*.json"))]
