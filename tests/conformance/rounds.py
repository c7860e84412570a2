"""Fixtures that ask the client for something: in the middle of a call, or as a result that is answered by a repeat."""

from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

if TYPE_CHECKING:
    from tests.conformance.fixtures import FixtureServer

Ctx = Context[Any, Any]
Schema = dict[str, Any]
Round = types.CallToolResult | types.InputRequiredResult
DEFAULTS: Schema = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_TITLED = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)]
_CHOICES = [{"const": f"value{n}", "title": f"{word} Choice"} for n, word in enumerate(("First", "Second", "Third"), 1)]
_PLAIN = ["option1", "option2", "option3"]
ENUMS: Schema = {
    "untitledSingle": {"type": "string", "enum": _PLAIN},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _PLAIN}},
    "titledMulti": {"type": "array", "items": {"anyOf": _CHOICES}},
}
CONTACT: Schema = {
    "username": {"type": "string", "description": "User's response"},
    "email": {"type": "string", "description": "User's email address"},
}


def _object(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


def _elicit(message: str, name: str, kind: str = "string") -> types.ElicitRequest:
    schema = _object({name: {"type": kind}}, name)
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str, tokens: int = 100) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(text=text))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=tokens))


ROOTS = types.ListRootsRequest()


def _done(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)])


def _ask(state: str | None = None, **requests: types.InputRequest) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def _form(ctx: Ctx, key: str) -> dict[str, Any] | None:
    """What was filled in; None where it is missing or something else."""
    answer = (ctx.input_responses or {}).get(key)
    return dict(answer.content or {}) if isinstance(answer, types.ElicitResult) else None


def add(server: "FixtureServer") -> None:
    """All of them."""
    _add_asking_now(server)
    _add_single(server)
    _add_with_state(server)

    @server.prompt()
    def test_input_required_result_prompt(ctx: Ctx) -> Any:
        """A prompt that asks first."""
        given = _form(ctx, "user_context")
        if given is None:
            return _ask(user_context=_elicit("What context should the prompt use?", "context"))
        return f"The context is {given.get('context')}."


def _add_asking_now(server: "FixtureServer") -> None:
    async def elicit(ctx: Ctx, message: str, schema: Schema) -> types.ElicitResult:
        if not ctx.session.can_send_request:
            raise ToolError("This client cannot be asked in the middle of a call")
        answer: types.ElicitResult = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
        return answer

    @server.tool()
    async def test_sampling(prompt: str, ctx: Ctx) -> str:
        """Has the client's model say something."""
        message = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
        answer = await ctx.session.create_message(messages=[message], max_tokens=100, related_request_id=ctx.request_id)
        return f"LLM response: {answer.content.text if isinstance(answer.content, types.TextContent) else ''}"

    @server.tool()
    async def test_elicitation(message: str, ctx: Ctx) -> str:
        """Asks for a name and an address."""
        answer = await elicit(ctx, message, _object(CONTACT, "username", "email"))
        return f"User response: action={answer.action}, content={answer.content}"

    @server.tool()
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
        """Asks with defaults."""
        answer = await elicit(ctx, "Please review", _object(DEFAULTS))
        return f"Elicitation completed: action={answer.action}, content={answer.content}"

    @server.tool()
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
        """Asks for choices."""
        answer = await elicit(ctx, "Please choose", _object(ENUMS))
        return f"Elicitation completed: action={answer.action}, content={answer.content}"


def _add_single(server: "FixtureServer") -> None:  # noqa: C901 -- a list
    def user_name(ctx: Ctx) -> Round:
        given = _form(ctx, "user_name")
        return _done(f"Hello, {given['name']}!") if given and "name" in given else _ask(user_name=WHO)

    @server.tool()
    async def test_input_required_result_elicitation(ctx: Ctx) -> Round:
        """Asks for a name."""
        return user_name(ctx)

    @server.tool()
    async def test_streaming_elicitation(ctx: Ctx) -> Round:
        """Asks for a name after telling of progress."""
        await ctx.report_progress(1, 2)
        return user_name(ctx)

    @server.tool()
    async def test_input_required_result_sampling(ctx: Ctx) -> Round:
        """Asks the client's model."""
        answer = (ctx.input_responses or {}).get("capital_question")
        if not isinstance(answer, types.CreateMessageResult):
            return _ask(capital_question=_sample("What is the capital of France?"))
        return _done(answer.content.text if isinstance(answer.content, types.TextContent) else "")

    @server.tool()
    async def test_input_required_result_list_roots(ctx: Ctx) -> Round:
        """Asks for roots."""
        answer = (ctx.input_responses or {}).get("client_roots")
        if not isinstance(answer, types.ListRootsResult):
            return _ask(client_roots=ROOTS)
        return _done(", ".join(str(root.uri) for root in answer.roots))

    @server.tool()
    async def test_input_required_result_capabilities(ctx: Ctx) -> Round:
        """Asks only for what the client can do."""
        can = ctx.client_capabilities or types.ClientCapabilities()
        requests: dict[str, types.InputRequest] = {}
        if can.elicitation is not None:
            requests["user_name"] = WHO
        if can.sampling is not None:
            requests["greeting"] = _sample("Generate a greeting", 50)
        if requests and not ctx.input_responses:
            return types.InputRequiredResult(input_requests=requests)
        return _done("Nothing to ask.")


WHO = _elicit("What is your name?", "name")


def _add_with_state(server: "FixtureServer") -> None:  # noqa: C901 -- a list
    @server.tool()
    async def test_input_required_result_request_state(ctx: Ctx) -> Round:
        """Wants its state back."""
        if ctx.request_state == "confirming" and _form(ctx, "confirm") is not None:
            return _done("state-ok")
        return _ask("confirming", confirm=_elicit("Please confirm", "ok", "boolean"))

    @server.tool()
    async def test_input_required_result_tampered_state(ctx: Ctx) -> Round:
        """Takes no other state than its own; the seal is the SDK's."""
        if ctx.request_state is None:
            return _ask("sealed", confirm=_elicit("Please confirm", "ok", "boolean"))
        if ctx.request_state != "sealed":
            raise MCPError(types.INVALID_PARAMS, "Not a state of this tool")
        return _done("state-ok")

    @server.tool()
    async def test_input_required_result_multiple_inputs(ctx: Ctx) -> Round:
        """Asks for three things at once."""
        wanted: dict[str, types.InputRequest] = {
            "user_name": WHO,
            "greeting": _sample("Generate a greeting", 50),
            "client_roots": ROOTS,
        }
        if set(ctx.input_responses or {}) >= set(wanted) and ctx.request_state == "three":
            return _done("All three came.")
        return _ask("three", **wanted)

    @server.tool()
    async def test_input_required_result_multi_round(ctx: Ctx) -> Round:
        """Asks twice."""
        if ctx.request_state == "second" and (colour := _form(ctx, "step2")) is not None:
            return _done(f"Your colour is {colour.get('color')}.")
        if ctx.request_state == "first" and _form(ctx, "step1") is not None:
            return _ask("second", step2=_elicit("Step 2: What is your favorite color?", "color"))
        return _ask("first", step1=_elicit("Step 1: What is your name?", "name"))
