"""Chat in Discord in a real n8n: who may ask, what is answered, what is reviewed; two people at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.n8n.stage import Stage, workflow
from tests.e2e.n8n.stand_ins import calls, says
from tests.e2e.n8n.test_chat import GUEST, SHUTDOWN, STOPS, reviewed

DISCORD, AGENT = "2-chat-discord", "2-chat-agent"


@asynccontextmanager
async def listening(stage: Stage) -> AsyncIterator[str]:
    """Published, and it looks every second. What was written before `maxAge` seconds ago is left alone."""
    raw = workflow(DISCORD, stage.ports)
    for node in raw["nodes"]:
        if node["type"].endswith("scheduleTrigger"):
            node["parameters"]["rule"]["interval"] = [{"field": "seconds", "secondsInterval": 1}]
    await stage.replaced(raw)
    async with stage.published(DISCORD, AGENT) as given:
        yield given
    await stage.replaced(workflow(DISCORD, stage.ports))


async def answered(stage: Stage, to: str) -> str:
    def replies() -> list[str]:
        return [text for asked, text in stage.discord.replies if asked == to]

    await stage.until(replies, f"{to} is not answered: {stage.discord.sent}")
    return replies()[0]


async def test_it_answers_who_is_listed_once_with_a_memory_of_each(stage: Stage) -> None:
    old = stage.discord.write("Asked long ago", timestamp="2020-01-01T00:00:00+00:00")
    async with listening(stage):
        stage.model.steps = [calls("get_guest", vmid=GUEST), says("It runs, @everyone.")]
        one = stage.discord.write("How is guest 113?")
        assert await answered(stage, one) == "It runs, @\u200beveryone."
        assert "nextcloud" in stage.model.told
        stage.model.steps = [says("I told you.")]
        two = stage.discord.write("And again?")
        assert await answered(stage, two) == "I told you."
        assert "How is guest 113?" in stage.model.told
        stage.discord.write("!pve status")
        stage.discord.write("I am a bot", author={"id": "42", "username": "b", "bot": True})
        stage.discord.write("I am a webhook", webhook_id="42")
        other = stage.discord.write("Who am I?", user="43")
        await answered(stage, other)
        assert "How is guest 113?" not in stage.model.told
        assert [asked for asked, _ in stage.discord.replies] == [one, two, other]
        assert old not in [asked for asked, _ in stage.discord.replies]
        assert stage.posts("*") == 0


async def test_a_stranger_is_refused_and_told_so_once(stage: Stage) -> None:
    async with listening(stage):
        first = stage.discord.write("Stop everything!", user="66")
        assert "Your id is 66" in await answered(stage, first)
        stage.discord.write("Stop everything!!", user="66")
        stage.model.steps = [says("Yes?")]
        mine = stage.discord.write("Are you there?")
        await answered(stage, mine)
        assert [asked for asked, _ in stage.discord.replies] == [first, mine]
        assert "Stop everything" not in str(stage.model.asked)


async def test_a_change_is_reviewed_there_while_another_is_answered(stage: Stage) -> None:
    async with listening(stage):
        reviewed(stage, SHUTDOWN, then="It is off.")
        asked = stage.discord.write("Shut 113 down, please.")
        links = await stage.asked("execute_vm_command")
        assert "user42 wrote: Shut 113 down" in stage.discord.text
        stage.model.steps = [says("Hello.")]
        other = stage.discord.write("Hello?", user="43")
        assert await answered(stage, other) == "Hello."
        assert stage.posts(STOPS) == 0
        await stage.follow(links["Approve"])
        assert await answered(stage, asked) == "It is off."
        assert stage.posts(STOPS) == 1
        assert not stage.lab.guest(GUEST).running

        status, _ = await stage.opened("GET", links["Approve"])
        assert status != 200, "a button counts once"


async def test_a_refusal_changes_nothing(stage: Stage) -> None:
    async with listening(stage):
        reviewed(stage, SHUTDOWN, then="Then not.")
        asked = stage.discord.write("Shut 113 down, please.")
        await stage.follow((await stage.asked("execute_vm_command"))["Refuse"])
        assert await answered(stage, asked) == "Then not."
        assert stage.posts("*/status/*") == 0


async def test_a_long_answer_is_cut_and_a_server_that_is_away_told(stage: Stage) -> None:
    async with listening(stage) as discord:
        stage.model.steps = [says("\n".join(f"Line {i}: " + "x" * 90 for i in range(200)))]
        asked = stage.discord.write("Tell me everything")
        await stage.until(lambda: len(stage.discord.replies) == 4)
        assert await answered(stage, asked)
        assert stage.discord.replies[-1][1].endswith("(cut: ask for less)")
        await stage.server.kill()
        assert "failed" in await answered(stage, stage.discord.write("Hello?"))
        stage.discord.refuse = True  # only what fails is kept of the looks, and the workflow for errors told
        assert (await stage.ended(discord, "error")).status == "error"
