"""The tools, resources and prompts that the conformance suite calls by fixed names, on our own server.

Everything about the protocol is ours: the same class, the same app, the same guard; what is added are rows that do what
each scenario of `@modelcontextprotocol/conformance` describes. The SDK's managers hold them, ours are asked first.
"""

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import mcp_types as types
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.shared.exceptions import MCPError

from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import Settings
from proxmox_mcp.elicit import Elicitation
from proxmox_mcp.metrics import Metrics
from proxmox_mcp.server import ProxmoxServer, described
from proxmox_mcp.state import State
from proxmox_mcp.tools.base import Services, Tool
from tests.conformance import rounds
from tests.conformance.consent import Consent

Ctx = Context[Any, Any]
PAUSE = 0.05


def _png() -> str:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + pixel + chunk(b"IEND", b"")).decode()


def _wav() -> str:
    """No samples at all."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    return base64.b64encode(b"RIFF" + struct.pack("<I", 36) + b"WAVE" + form + b"data" + struct.pack("<I", 0)).decode()


PNG, WAV = _png(), _wav()
STRICT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


class FixtureServer(ProxmoxServer):
    """Ours, with more rows."""

    def __init__(self, settings: Settings, state: State, change: Callable[[], Awaitable[None]]) -> None:
        consent = Consent(change)
        super().__init__(Services(settings, state), Metrics(), Elicitation(consent))
        self.added = {tool.name: tool for tool in consent.tools()}
        add_tools(self)
        rounds.add(self)
        add_resources(self)
        add_prompts(self)
        self._lowlevel_server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _set_level)

    def offered(self, principal: Principal) -> dict[str, Tool]:
        return super().offered(principal) | self.added

    def _listed(self, principal: Principal) -> list[types.Tool]:
        ours = [described(tool, name) for name, tool in super().offered(principal).items()]
        added = [
            types.Tool(name=name, description=tool.description, input_schema={"type": "object"})
            for name, tool in self.added.items()
        ]
        return [*ours, *added, *(_as_listed(tool) for tool in self._tool_manager.list_tools())]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Ctx | None = None
    ) -> types.CallToolResult | types.InputRequiredResult:
        if self._tool_manager.get_tool(name) is None:
            return await super().call_tool(name, arguments, context)
        return await MCPServer.call_tool(self, name, arguments, context)

    async def list_resources(self) -> list[types.Resource]:
        return [*await super().list_resources(), *await MCPServer.list_resources(self)]

    async def list_resource_templates(self) -> list[types.ResourceTemplate]:
        return [*await super().list_resource_templates(), *await MCPServer.list_resource_templates(self)]

    async def read_resource(  # type: ignore[override]  # the SDK's may also ask for input
        self, uri: Any, context: Ctx | None = None
    ) -> Iterable[ReadResourceContents] | types.InputRequiredResult:
        try:
            return await super().read_resource(uri, context)
        except ResourceNotFoundError:
            if not str(uri).startswith("test://"):
                raise
            return await MCPServer.read_resource(self, uri, context)

    async def list_prompts(self) -> list[types.Prompt]:
        return [*await super().list_prompts(), *await MCPServer.list_prompts(self)]

    async def get_prompt(  # type: ignore[override]  # the SDK's may also ask for input
        self, name: str, arguments: dict[str, Any] | None = None, context: Ctx | None = None
    ) -> types.GetPromptResult | types.InputRequiredResult:
        if self._prompt_manager.get_prompt(name) is None:
            return await super().get_prompt(name, arguments, context)
        return await MCPServer.get_prompt(self, name, arguments, context)

    async def complete(self, params: types.CompleteRequestParams) -> types.Completion:
        if isinstance(params.ref, types.PromptReference) and self._prompt_manager.get_prompt(params.ref.name):
            return types.Completion(values=[], total=0, has_more=False)
        return await super().complete(params)


async def _set_level(ctx: Any, params: types.SetLevelRequestParams) -> types.EmptyResult:
    del ctx, params
    return types.EmptyResult()


def _as_listed(tool: Any) -> types.Tool:
    schema = STRICT if tool.name == "json_schema_2020_12_tool" else tool.parameters
    return types.Tool(name=tool.name, description=tool.description, input_schema=schema)


def add_tools(server: FixtureServer) -> None:  # noqa: C901 -- a list
    """What a call can bring back, and what can be told and asked while it runs."""

    @server.tool()
    def test_simple_text() -> str:
        """A text."""
        return "This is a simple text response for testing."

    @server.tool()
    def test_image_content() -> types.ImageContent:
        """A picture."""
        return types.ImageContent(data=PNG, mime_type="image/png")

    @server.tool()
    def test_audio_content() -> types.AudioContent:
        """A sound."""
        return types.AudioContent(data=WAV, mime_type="audio/wav")

    @server.tool()
    def test_embedded_resource() -> types.EmbeddedResource:
        """A resource."""
        return _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")

    @server.tool()
    def test_multiple_content_types() -> list[types.ContentBlock]:
        """All of them."""
        data = json.dumps({"test": "data", "value": 123})
        return [
            types.TextContent(text="Multiple content types test:"),
            types.ImageContent(data=PNG, mime_type="image/png"),
            _embedded("test://mixed-content-resource", "application/json", data),
        ]

    @server.tool()
    def test_error_handling() -> str:
        """Always fails."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool()
    async def test_tool_with_progress(ctx: Ctx) -> str:
        """Tells of its progress."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
            await asyncio.sleep(PAUSE)
        return "Done."

    @server.tool()
    async def test_tool_with_logging(ctx: Ctx) -> str:
        """Logs."""
        for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await _log(ctx, text)
            await asyncio.sleep(PAUSE)
        return "Done."

    @server.tool()
    async def test_logging_tool(ctx: Ctx) -> str:
        """Logs, which a client must have asked for."""
        await _log(ctx, "Nobody hears this unless they asked to")
        return "Done."

    @server.tool()
    async def test_trigger_tool_change(ctx: Ctx) -> str:
        """Tells that the tools changed."""
        await ctx.notify_tools_changed()
        return "Done."

    @server.tool()
    async def test_trigger_prompt_change(ctx: Ctx) -> str:
        """Tells that the prompts changed."""
        await ctx.notify_prompts_changed()
        return "Done."

    @server.tool()
    def test_missing_capability(ctx: Ctx) -> str:
        """Needs a client that samples."""
        if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
            needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "Sampling is needed", needed)
        return "Done."

    @server.tool()
    def json_schema_2020_12_tool(name: str = "") -> str:
        """Tool with JSON Schema 2020-12 features."""
        return name


def _embedded(uri: str, mime: str, text: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=mime, text=text))


async def _log(ctx: Ctx, text: str) -> None:
    await ctx.session.send_log_message("info", text, related_request_id=ctx.request_id)


def add_resources(server: FixtureServer) -> None:
    """Text, bytes, a template."""

    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """A picture."""
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        """To be subscribed to."""
        return "Watched."

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def templated(id: str) -> str:  # noqa: A002 -- the name in the URI
        """By its id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def add_prompts(server: FixtureServer) -> None:
    """Messages of each kind."""

    @server.prompt()
    def test_simple_prompt() -> str:
        """A text."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A text with arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803 -- the suite's name
        """A resource in a message."""
        resource = _embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]

    @server.prompt()
    def test_prompt_with_image() -> list[Message]:
        """A picture in a message."""
        image = types.ImageContent(data=PNG, mime_type="image/png")
        return [UserMessage(image), UserMessage("Please analyze the image above.")]
