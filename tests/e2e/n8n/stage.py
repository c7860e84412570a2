"""Everything that a workflow meets: n8n, Mosquitto, the bridge and the MCP server on a lab, a model, Discord, mail."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mqtt_bridge.approvals.proofs import key_of
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.tokens import digest
from tests.e2e.n8n.channels import TOKEN, Discord, Telegram
from tests.e2e.n8n.n8n import Answer, Execution, N8n, steady_port
from tests.e2e.n8n.stand_ins import Model, listening, mail_at
from tests.support.mail_host import MailHost
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Serve, Tree, environment, until

WORKFLOWS = Path(__file__).parents[3] / "n8n_workflows"
QUICK = LabOptions(seed=1, speed=20, pvestatd_interval=0, rrd_timeout=1.5, auth_delay=0.05, dead_node_delay=0.05)
READER, OPERATOR, APPROVER = "pmcp_reader", "pmcp_operator", "apr_n8ns-own-secret"
FAST = {"POLL_INTERVAL": "0.5", "POLL_TASKS_INTERVAL": "0.3", "POLL_DETAILS_BUDGET": "600"}
LONG = 60.0


@dataclass(frozen=True)
class Ports:
    """The same through a test run, as n8n's credentials name them. `host` is this machine as n8n knows it."""

    host: str = "127.0.0.1"
    mqtt: int = field(default_factory=steady_port)
    mcp: int = field(default_factory=steady_port)
    model: int = field(default_factory=steady_port)
    mail: int = field(default_factory=steady_port)
    telegram: int = field(default_factory=steady_port)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.mcp}/mcp"

    def config(self) -> dict[str, Any]:
        """What somebody who installs the workflows writes into their Config nodes."""
        return {
            "mcpUrl": self.url,
            "site": "lab",
            "model": "test-model",
            "discordServer": "1001",
            "discordChannel": "2002",
            "mailFrom": "n8n@example.org",
            "mailTo": "ann@example.org",
            "approver": "n8n",
            "users": "42, 43",
            "reviewers": "43",
        }

    def credentials(self) -> dict[str, tuple[str, dict[str, Any]]]:
        mqtt = {"protocol": "mqtt", "host": self.host, "port": self.mqtt, "clean": True, "clientId": "", "ssl": False}
        mail = {
            "host": self.host,
            "port": self.mail,
            "secure": False,
            "disableStartTls": True,
            "user": "",
            "password": "",
        }
        return {
            "Proxmox MQTT": ("mqtt", mqtt),
            "Proxmox MCP bearer": ("httpBearerAuth", {"token": READER}),
            "Proxmox MCP operator": ("httpBearerAuth", {"token": OPERATOR}),
            "LLM (OpenAI-compatible)": (
                "openAiApi", {"apiKey": "sk-test", "url": f"http://{self.host}:{self.model}/v1", "header": False}
            ),
            "Discord bot": ("discordBotApi", {"botToken": "bot-token"}),
            "Telegram bot": (
                "telegramApi", {"accessToken": TOKEN, "baseUrl": f"http://{self.host}:{self.telegram}"}
            ),
            "Mail (SMTP)": ("smtp", mail),
            "Proxmox approver": ("crypto", {"hmacSecret": key_of(APPROVER)}),
        }  # fmt: skip


def workflow(name: str, ports: Ports) -> dict[str, Any]:
    """A file with its Config node filled in, as `name` or the beginning of it."""
    path = WORKFLOWS / f"{name}.json"
    path = path if path.exists() else next(WORKFLOWS.glob(f"{name}*.json"))
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for node in raw["nodes"]:
        if node["name"] == "Config":
            for row in node["parameters"]["assignments"]["assignments"]:
                row["value"] = ports.config().get(row["name"], row["value"])
    return raw


def changed(raw: dict[str, Any], **config: Any) -> dict[str, Any]:
    """What the API takes of it, with other values in its Config node."""
    for node in raw["nodes"]:
        if node["name"] == "Config":
            for row in node["parameters"]["assignments"]["assignments"]:
                row["value"] = config.get(row["name"], row["value"])
    return {key: raw[key] for key in ("name", "nodes", "connections", "settings")}


@dataclass
class Stage:
    folder: Path
    ports: Ports
    n8n: N8n
    lab: Lab
    mosquitto: Mosquitto
    server: Serve
    tree: Tree
    model: Model
    discord: Discord
    telegram: Telegram
    mail: MailHost
    after: int = 0

    @asynccontextmanager
    async def published(self, *names: str) -> AsyncIterator[str]:
        """Published while the block lasts, what is called by another after it; gives the id of the first."""
        ids = [workflow(name, self.ports)["id"] for name in names]
        for one in reversed(ids):
            await self.n8n.api("POST", f"/workflows/{one}/activate")
        await asyncio.sleep(2.5)  # n8n publishes in the background; a message before it has is not seen
        self.after = await self.n8n.last_execution()
        try:
            yield ids[0] if ids else ""
        finally:
            for one in ids:
                await self.n8n.api("POST", f"/workflows/{one}/deactivate")

    async def ended(self, workflow_id: str, *states: str) -> Execution:
        return await self.n8n.execution(workflow_id, self.after, states or ("success", "error", "crashed", "canceled"))

    async def execution_with(self, workflow_id: str, node: str) -> Execution:
        """The first that ended and went through this node, where a workflow has executions of several kinds."""
        found: list[Execution] = []

        async def looked() -> bool:
            found[:] = [one for one in await self.n8n.executions(workflow_id, self.after) if one.ran(node)]
            return bool(found)

        async with asyncio.timeout(LONG):
            while not await looked():
                await asyncio.sleep(0.5)
        return found[0]

    async def run(self, workflow_id: str, trigger: str) -> None:
        """As somebody does in the editor who presses the button of this trigger."""
        status, full = await self.n8n.reach("GET", f"/rest/workflows/{workflow_id}")
        assert status == 200, full
        asked = {"workflowData": full["data"], "triggerToStartFrom": {"name": trigger}}
        headers = {"push-ref": "tests"}
        status, answer = await self.n8n.reach("POST", f"/rest/workflows/{workflow_id}/run", asked, **headers)
        assert status == 200, answer

    async def replaced(self, raw: dict[str, Any]) -> None:
        """What the workflow of this id is from now on."""
        await self.n8n.api("PUT", f"/workflows/{raw['id']}", changed(raw))

    async def failing(self, name: str) -> str:
        """A workflow behind a webhook that fails, with ours for its errors; gives its path."""
        path = uuid.uuid4().hex
        hook = {"name": "Hook", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "webhookId": path}
        stop = {"name": "Stop", "type": "n8n-nodes-base.stopAndError", "typeVersion": 1}
        made = await self.n8n.api("POST", "/workflows", {
            "name": name,
            "nodes": [
                {**hook, "id": "a", "position": [0, 0], "parameters": {"httpMethod": "POST", "path": path}},
                {**stop, "id": "b", "position": [200, 0], "parameters": {"errorMessage": "broken on purpose"}},
            ],
            "connections": {"Hook": {"main": [[{"node": "Stop", "type": "main", "index": 0}]]}},
            "settings": {"executionOrder": "v1", "errorWorkflow": "proxmoxErrors"},
        })  # fmt: skip
        await self.n8n.api("POST", f"/workflows/{made['id']}/activate")
        return path

    async def call(self, path: str, body: Any = None) -> Any:
        """A webhook; one that was published a moment ago answers 404 for a while."""
        for _ in range(100):
            status, answer = await self.n8n.reach("POST", f"/webhook/{path}", body or {})
            if status != 404:
                return answer
            await asyncio.sleep(0.2)
        raise AssertionError(f"{path} is not there: {answer}")

    def said(self, *levels: str) -> list[Any]:
        """What was published on such a topic below `proxmox/lab`, oldest first."""
        topics = "/".join(("proxmox", "lab", *levels))
        wanted = [m for _, m in self.tree.messages if m.topic == topics or m.topic.startswith(f"{topics}/")]
        return [json.loads(m.payload) for m in wanted if m.payload[:1] == b"{"]

    async def told(self, text: str, seconds: float = LONG) -> dict[str, Any]:
        """Wait until the notifiers were asked to tell something with this text in it."""

        def found() -> list[Any]:
            return [one for one in self.said("notify") if text in json.dumps(one, ensure_ascii=False)]

        await until(found, seconds, lambda: f"{text!r} is in none of {self.said('notify')}\n{self.n8n.dump()}")
        return dict(found()[-1])

    async def asked(self, text: str, number: int = 1) -> dict[str, str]:
        """Wait until Discord was asked something; gives the links of its buttons."""

        def found() -> bool:
            return len([one for one in self.discord.sent if one[1].get("components")]) >= number and bool(
                self.discord.links
            )

        await until(found, LONG, lambda: f"{self.discord.sent}\n{self.n8n.dump()}")
        assert text in self.discord.text
        return self.discord.links

    async def follow(self, link: str) -> None:
        """What a person does who presses a button; n8n takes it once the execution has gone to sleep."""
        status, answer = await self.opened("GET", link)
        assert status == 200, answer
        assert answer, "n8n takes us for a bot"

    async def opened(self, method: str, link: str, body: bytes | None = None, **headers: str) -> Answer:
        for _ in range(100):
            status, answer = await self.n8n.reach(method, self.n8n.inside(link), body, **headers)
            if status != 409:
                break
            await asyncio.sleep(0.2)
        return status, answer

    async def until(self, what: Callable[[], object], why: str = "") -> None:
        await until(what, LONG, lambda: f"{why}\n{self.n8n.dump()}")

    async def broker_restarted(self, *, listening: bool = True) -> None:
        """Until the bridge is back, and n8n's trigger if there is one."""
        await self.mosquitto.restart()
        await self.until(lambda: self.tree.bus.connected and self.tree.json("lab/state") == "online", "the bridge")
        if listening:
            await self.until(lambda: " as mqttjs_" in self.mosquitto.log, "n8n stays away from the broker")

    def posts(self, path: str) -> int:
        return self.lab.requests.count("POST", path)


@asynccontextmanager
async def staged(
    folder: Path, ports: Ports, n8n: N8n, *, broker: Sequence[str] = (), **settings: str
) -> AsyncIterator[Stage]:
    """`broker`: further lines for Mosquitto; `settings`: ours."""
    tokens = {
        "n8n-reads": {"sha256": digest(READER).hex(), "level": "read", "toolsets": ["all"]},
        "n8n-acts": {"sha256": digest(OPERATOR).hex(), "level": "destroy", "toolsets": ["all"]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
    (folder / "tokens.json").chmod(0o600)
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(QUICK))
        mosquitto = Mosquitto(folder / "mosquitto", port=ports.mqtt, config=broker)
        mosquitto.directory.mkdir(parents=True)
        await mosquitto.start()
        stack.push_async_callback(mosquitto.kill)
        model, discord, telegram = Model(), Discord(), Telegram(n8n.inside)
        await stack.enter_async_context(listening(model.app(), ports.model))
        await stack.enter_async_context(listening(discord.app(), n8n.discord_port))
        await stack.enter_async_context(listening(telegram.app(), ports.telegram))
        mail = await stack.enter_async_context(mail_at(ports.mail))
        mine = {
            "STATE_DIR": str(folder / "state"),
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(ports.mqtt),
            "MCP_AUTH_TOKEN": "pmcp_default-of-the-tests",
            "MCP_TOKENS_FILE": str(folder / "tokens.json"),
            "MCP_TOOLSETS": "all",
            "APPROVERS": f"n8n:sha256:{key_of(APPROVER)}",
            "APPROVAL_MQTT": "proof",
        }
        env = environment(**{**lab.env, **FAST, **mine, **settings})
        server = await stack.enter_async_context(Serve(folder / "serve", env, "--port", str(ports.mcp)))
        await server.ready(LONG)
        tree = await stack.enter_async_context(Tree(mosquitto.options))
        await until(lambda: tree.json("lab/state") == "online", LONG, lambda: server.err[-2000:])
        yield Stage(folder, ports, n8n, lab, mosquitto, server, tree, model, discord, telegram, mail)
        assert lab.violations == [], "requests that are not in Proxmox's schema"


def soon(seconds: float) -> float:
    return time.time() + seconds
