"""Chat with the infrastructure in a real n8n: reading at once, changing after a review, memory by conversation."""

import asyncio
from typing import Any

from aiohttp import ClientSession, WSMsgType

from tests.e2e.n8n.stage import Stage, workflow
from tests.e2e.n8n.stand_ins import calls, says

CHAT = "2-chat"
GUEST = 113  # a VM that runs
# n8n puts what a tool takes below `toolParameters` where a person reviews it, and offers it to the model so
SHUTDOWN = calls("execute_vm_command", toolParameters={"vmid": GUEST, "command": "shutdown"})
STOPS = f"*/qemu/{GUEST}/status/shutdown"


async def write(stage: Stage, text: str, session: str = "s1") -> str:
    """What the chat's page does: it sends the message, and waits at a WebSocket for what is answered."""
    raw = workflow(CHAT, stage.ports)
    (trigger,) = (node for node in raw["nodes"] if node["type"].endswith("chatTrigger"))
    body = {"action": "sendMessage", "sessionId": session, "chatInput": text}
    for _ in range(60):
        status, begun = await stage.n8n.reach("POST", f"/webhook/{trigger['webhookId']}/chat", body)
        if status != 404:
            break
        await asyncio.sleep(0.2)
    assert status == 200, begun
    return await answered(stage, session, begun)


async def answered(stage: Stage, session: str, begun: dict[str, Any]) -> str:
    query = {
        "sessionId": session,
        "executionId": begun["executionId"],
        "isPublic": "true",
        "token": begun["resumeToken"],
    }
    said: list[str] = []
    async with (
        ClientSession() as web,
        web.ws_connect(f"{stage.n8n.url}/chat", params=query) as page,
        asyncio.timeout(90),
    ):
        async for message in page:
            assert message.type is WSMsgType.TEXT
            if message.data == "n8n|heartbeat":
                await page.send_str("n8n|heartbeat-ack")
            elif message.data != "n8n|continue":
                said.append(message.data)
    return "\n".join(said)


async def test_it_answers_with_what_it_read_and_remembers_by_conversation(stage: Stage) -> None:
    async with stage.published(CHAT):
        stage.model.steps = [calls("get_guest", vmid=GUEST), says("It runs.")]
        assert await write(stage, "How is guest 113?") == "It runs."
        assert "nextcloud" in stage.model.told
        stage.model.steps = [says("I told you.")]
        assert await write(stage, "And again?") == "I told you."
        assert "How is guest 113?" in stage.model.told
        await write(stage, "Who am I?", session="s2")
        assert "How is guest 113?" not in stage.model.told
        assert stage.posts("*/status/*") == 0
        assert stage.discord.sent == []


async def test_what_changes_something_is_reviewed(stage: Stage) -> None:
    async with stage.published(CHAT) as chat:
        stage.model.steps = [SHUTDOWN, says("It is off.")]
        writing = asyncio.create_task(write(stage, "Shut 113 down, please."))
        links = await stage.asked("execute_vm_command")
        assert "Shut 113 down" in stage.discord.text
        assert str(GUEST) in stage.discord.text
        assert stage.posts(STOPS) == 0
        await stage.follow(links["Approve"])
        assert await writing == "It is off."
        assert not stage.lab.guest(GUEST).running, (stage.model.asked[-1]["tools"][-1], stage.model.told[-3000:])
        execution = await stage.ended(chat)
        assert execution.status == "success", execution
        assert stage.posts(STOPS) == 1


async def test_a_refusal_goes_back_to_the_model(stage: Stage) -> None:
    async with stage.published(CHAT):
        stage.model.steps = [SHUTDOWN, says("Then not.")]
        writing = asyncio.create_task(write(stage, "Shut 113 down, please."))
        links = await stage.asked("execute_vm_command")
        await stage.follow(links["Refuse"])
        assert await writing == "Then not."
        assert stage.posts("*/status/*") == 0
        assert stage.lab.guest(GUEST).running


async def test_a_review_that_is_switched_off_takes_its_tools_with_it(stage: Stage) -> None:
    raw = workflow(CHAT, stage.ports)
    for node in raw["nodes"]:
        if node["name"] == "Review in Discord":
            node["disabled"] = True
    await stage.replaced(raw)
    async with stage.published(CHAT):
        stage.model.steps = [SHUTDOWN, says("I cannot.")]
        await write(stage, "Shut 113 down, please.")
        assert stage.model.offered
        assert not [name for name in stage.model.offered if "execute" in name or "create" in name]
        assert stage.posts("*/status/*") == 0
    await stage.replaced(workflow(CHAT, stage.ports))


async def test_without_the_model_or_the_server_the_chat_says_so(stage: Stage) -> None:
    async with stage.published(CHAT):
        stage.model.status = 400
        assert "failed" in await write(stage, "Hello?")
        stage.model.status = 200
        stage.model.steps = [says("Hello.")]
        await stage.server.kill()
        assert "failed" in await write(stage, "Hello?")
