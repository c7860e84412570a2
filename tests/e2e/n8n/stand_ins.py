"""What n8n talks to beside us: a language model that says what it was told to, and a mail server."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP

from tests.support.mail_host import MailHost

Step = dict[str, Any]


def says(text: str) -> Step:
    return {"text": text}


def calls(tool: str, **arguments: Any) -> Step:
    return {"tool": tool, "arguments": arguments}


@asynccontextmanager
async def listening(app: web.Application, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@dataclass
class Model:
    """An OpenAI-compatible server. The step that it says is the number of calls of tools since the last user message.

    A tool of the script is found by the end of its name: n8n puts the name of the node before it.
    """

    steps: list[Step] = field(default_factory=list)
    answers: dict[str, list[Step]] = field(default_factory=dict)  # instead of `steps`, by text in the last user message
    asked: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200

    @property
    def offered(self) -> set[str]:
        """The names of the tools that it was ever shown."""
        return {tool["function"]["name"] for one in self.asked for tool in one.get("tools") or []}

    @property
    def told(self) -> str:
        """Everything that it was sent the last time, as text."""
        return json.dumps(self.asked[-1]["messages"], ensure_ascii=False)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        if self.status != 200:
            return web.json_response({"error": {"message": "on purpose"}}, status=self.status)
        messages = body["messages"]
        last = max((i for i, one in enumerate(messages) if one["role"] == "user"), default=0)
        turn = sum(one["role"] == "assistant" and bool(one.get("tool_calls")) for one in messages[last:])
        steps = next((v for k, v in self.answers.items() if k in json.dumps(messages[last])), self.steps)
        step = steps[min(turn, len(steps) - 1)]
        names = [tool["function"]["name"] for tool in body.get("tools") or []]
        return await self._said(request, body, _message(step, names, turn))

    async def _said(self, request: web.Request, body: dict[str, Any], message: dict[str, Any]) -> web.StreamResponse:
        reason = "tool_calls" if "tool_calls" in message else "stop"
        base = {"id": "chatcmpl-1", "created": 1, "model": body.get("model", "")}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            return web.json_response({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for call in message.get("tool_calls", ()):
            call["index"] = 0
        for choices in ([{"index": 0, "delta": message, "finish_reason": None}],
                        [{"index": 0, "delta": {}, "finish_reason": reason}]):  # fmt: skip
            chunk = {**base, "object": "chat.completion.chunk", "choices": choices}
            await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await answer.write(b"data: [DONE]\n\n")
        return answer

    def app(self) -> web.Application:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_post("/v1/chat/completions", self.answer)
        return app


def _message(step: Step, names: Sequence[str], turn: int) -> dict[str, Any]:
    if "tool" not in step:
        return {"role": "assistant", "content": step["text"]}
    wanted = step["tool"]
    name = next((one for one in names if one == wanted or one.endswith(f"_{wanted}")), wanted)
    function = {"name": name, "arguments": json.dumps(step["arguments"])}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": f"call_{turn}", "type": "function", "function": function}],
    }


@asynccontextmanager
async def mail_at(port: int) -> AsyncIterator[MailHost]:
    """A mail server that takes everything, at this port."""
    host = MailHost(port=port)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(host, hostname="mx.example.org", enable_SMTPUTF8=True), "127.0.0.1", port
    )
    try:
        yield host
    finally:
        server.close()
