"""Chat with the infrastructure in a real n8n: reading at once, changing after a review, memory by conversation."""

import asyncio
from typing import Any

from aiohttp import ClientSession, WSMsgType

from tests.e2e.n8n.stage import Stage, changed, workflow
from tests.e2e.n8n.stand_ins import Step, calls, says

CHAT = ("2-chat", "2-chat-agent")
GUEST = 113  # a VM that runs
WHY = "The operator asked for it."
SHUTDOWN = calls("Ask_for_a_change", action="execute_vm_command", vmid=GUEST, command="shutdown", why=WHY)
ASKED = says("I asked for it.")
STOPS = f"*/qemu/{GUEST}/status/shutdown"


def reviewed(stage: Stage, *before: Step, then: str) -> None:
    """What the model says: until it has asked for a change, and once it was told what became of it."""
    stage.model.steps = [*before, ASKED]
    stage.model.answers = {"[Review]": [says(then)]}


async def write(stage: Stage, text: str, session: str = "s1") -> str:
    """What the chat's page does: it sends the message, and waits at a WebSocket for what is answered."""
    raw = workflow(CHAT[0], stage.ports)
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
    async with stage.published(*CHAT):
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
    async with stage.published(*CHAT) as chat:
        reviewed(stage, SHUTDOWN, then="It is off.")
        writing = asyncio.create_task(write(stage, "Shut 113 down, please."))
        links = await stage.asked("execute_vm_command")
        assert "Shut 113 down" in stage.discord.text
        assert str(GUEST) in stage.discord.text
        assert stage.posts(STOPS) == 0
        await stage.follow(links["Approve"])
        assert await writing == "It is off."
        assert not stage.lab.guest(GUEST).running, stage.model.told[-3000:]
        assert "ok" in stage.model.told
        execution = await stage.ended(chat)
        assert execution.status == "success", execution
        assert stage.posts(STOPS) == 1
        assert not [name for name in stage.model.offered if "execute" in name or "create" in name]


async def test_a_refusal_goes_back_to_the_model(stage: Stage) -> None:
    async with stage.published(*CHAT):
        reviewed(stage, SHUTDOWN, then="Then not.")
        writing = asyncio.create_task(write(stage, "Shut 113 down, please."))
        links = await stage.asked("execute_vm_command")
        await stage.follow(links["Refuse"])
        assert await writing == "Then not."
        assert "refused it" in stage.model.told
        assert stage.posts("*/status/*") == 0
        assert stage.lab.guest(GUEST).running


async def test_two_changes_are_reviewed_one_after_the_other(stage: Stage) -> None:
    backup = calls("Ask_for_a_change", action="create_backup", vmid=GUEST, why=WHY)
    snapshot = calls("Ask_for_a_change", action="create_snapshot", vmid=GUEST, name="before", why=WHY)
    async with stage.published(*CHAT):
        stage.model.steps = [snapshot, ASKED]
        stage.model.answers = {
            "[Review] Somebody approved create_snapshot": [backup, ASKED],
            "[Review] Somebody approved create_backup": [says("Both are there.")],
        }
        writing = asyncio.create_task(write(stage, "Snapshot 113, then back it up."))
        await stage.follow((await stage.asked("create_snapshot"))["Approve"])
        links = await stage.asked("create_backup", 2)
        assert stage.posts("*/vzdump") == 0
        await stage.follow(links["Approve"])
        assert await writing == "Both are there."
        assert (stage.posts("*/snapshot"), stage.posts("*/vzdump")) == (1, 1)


async def test_a_model_that_asks_for_what_it_was_not_given_or_gives_nonsense(stage: Stage) -> None:
    async with stage.published(*CHAT):
        for wrong in (
            calls("Proxmox_execute_vm_command", vmid=GUEST, command="shutdown"),
            calls("Ask_for_a_change", action="delete_guest", vmid=GUEST, why=WHY),
            calls("Ask_for_a_change", action="execute_vm_command", vmid=GUEST, command="delete", why=WHY),
            calls("Ask_for_a_change", action="execute_vm_command", vmid=GUEST, why=WHY),
        ):
            stage.model.steps = [wrong, says("I cannot.")]
            assert await write(stage, "Delete 113, please.")
        assert stage.discord.sent == []
        assert stage.posts("*") == 0


async def test_nobody_who_answers_is_a_no(stage: Stage) -> None:
    raw = workflow(CHAT[0], stage.ports)
    await stage.replaced(raw | changed(raw, patience=0.05))
    async with stage.published(*CHAT):
        reviewed(stage, SHUTDOWN, then="Nobody was there.")
        assert await write(stage, "Shut 113 down, please.") == "Nobody was there."
        assert "Nobody answered in time" in stage.model.told
        assert stage.posts("*/status/*") == 0
    await stage.replaced(workflow(CHAT[0], stage.ports))


async def test_without_the_model_the_channel_or_the_server_the_chat_says_so(stage: Stage) -> None:
    async with stage.published(*CHAT):
        stage.model.status = 400
        assert "failed" in await write(stage, "Hello?")
        stage.model.status = 200
        stage.discord.refuse = True
        reviewed(stage, SHUTDOWN, then="Nobody could be asked.")
        assert await write(stage, "Shut 113 down, please.") == "Nobody could be asked."
        assert "Nobody could be asked" in stage.model.told
        await stage.server.kill()
        assert "failed" in await write(stage, "Hello?")
