"""Chat in Telegram in a real n8n, with a bot's side that is as strict as Telegram's: who may ask, who may approve."""

from tests.e2e.n8n.stage import Stage, changed, workflow
from tests.e2e.n8n.stand_ins import calls, says
from tests.e2e.n8n.test_chat import GUEST, SHUTDOWN, STOPS, reviewed

TELEGRAM = ("2-chat-telegram", "2-chat-agent")


async def said(stage: Stage, text: str, number: int = 1) -> None:
    telegram = stage.telegram
    await stage.until(lambda: sum(text in one for one in telegram.said) >= number, f"{text!r}: {telegram.calls}")


async def asked(stage: Stage) -> str:
    """What the person who decides was shown."""
    await stage.until(lambda: stage.telegram.buttons, f"nobody is asked: {stage.telegram.calls}")
    return str(stage.telegram.of("sendMessage")[-1]["text"])


async def test_it_answers_who_is_listed_with_a_memory_of_each(stage: Stage) -> None:
    async with stage.published(*TELEGRAM):
        assert stage.telegram.hook["url"].startswith("https://")
        stage.model.steps = [calls("get_guest", vmid=GUEST), says("It runs: <b>5 < 6 & so on</b> *_")]
        await stage.telegram.write("How is guest 113?")
        await said(stage, "It runs: &lt;b&gt;5 &lt; 6 &amp; so on")
        assert "nextcloud" in stage.model.told
        stage.model.steps = [says("I told you.")]
        await stage.telegram.write("And again?")
        await said(stage, "I told you.")
        assert "How is guest 113?" in stage.model.told
        await stage.telegram.write("Who am I?", user=43, chat=42)
        await said(stage, "I told you.", 2)
        assert "How is guest 113?" not in stage.model.told
        assert stage.posts("*") == 0
    await stage.until(lambda: stage.telegram.hook == {}, "Telegram still sends to n8n")


async def test_a_stranger_is_refused_and_told_so_once_and_a_forged_message_not_taken(stage: Stage) -> None:
    async with stage.published(*TELEGRAM):
        for _ in range(2):
            await stage.telegram.write("Stop everything!", user=66, chat=66)
        assert await stage.telegram.write("Stop everything!", secret="guessed") == 403
        await said(stage, "Your id is 66")
        stage.model.steps = [says("Yes?")]
        await stage.telegram.write("Are you there?")
        await said(stage, "Yes?")
        assert len(stage.telegram.said) == 2
        assert "Stop everything" not in str(stage.model.asked)


async def test_a_change_is_approved_by_a_button_of_who_may_approve(stage: Stage) -> None:
    async with stage.published(*TELEGRAM) as telegram:
        reviewed(stage, SHUTDOWN, then="It is off.")
        await stage.telegram.write("Shut 113 down, please.")
        assert "execute_vm_command" in await asked(stage)
        await stage.ended(telegram, "waiting")
        await stage.telegram.press("Approve", user=42)
        await stage.until(lambda: stage.telegram.of("answerCallbackQuery"))
        assert "not among those" in stage.telegram.of("answerCallbackQuery")[0]["text"]
        assert stage.posts(STOPS) == 0
        await stage.telegram.press("Approve", user=43)
        await said(stage, "It is off.")
        assert "User43 approved" in stage.model.told
        assert stage.posts(STOPS) == 1
        assert not stage.lab.guest(GUEST).running
        assert "Approved by User43" in stage.telegram.of("editMessageText")[0]["text"]
        assert (await stage.ended(telegram)).status == "success"


async def test_a_refusal_changes_nothing(stage: Stage) -> None:
    async with stage.published(*TELEGRAM) as telegram:
        reviewed(stage, SHUTDOWN, then="Then not.")
        await stage.telegram.write("Shut 113 down, please.")
        await asked(stage)
        await stage.ended(telegram, "waiting")
        await stage.telegram.press("Refuse", user=43)
        await said(stage, "Then not.")
        assert stage.posts("*/status/*") == 0
        assert stage.lab.guest(GUEST).running


async def test_nobody_who_answers_is_a_no(stage: Stage) -> None:
    raw = workflow(TELEGRAM[0], stage.ports)
    await stage.replaced(raw | changed(raw, patience=0.05))
    async with stage.published(*TELEGRAM):
        reviewed(stage, SHUTDOWN, then="Nobody was there.")
        await stage.telegram.write("Shut 113 down, please.")
        await asked(stage)
        await said(stage, "Nobody was there.")
        assert "Nobody answered in time" in stage.model.told
        assert stage.posts("*/status/*") == 0
    await stage.replaced(workflow(TELEGRAM[0], stage.ports))


async def test_a_long_answer_is_cut_and_a_server_that_is_away_told(stage: Stage) -> None:
    async with stage.published(*TELEGRAM):
        stage.model.steps = [says("\n".join(f"Line {i}: " + "<x>" * 30 for i in range(200)))]
        await stage.telegram.write("Tell me everything")
        await said(stage, "(cut: ask for less)")
        assert len(stage.telegram.said) == 3
        await stage.server.kill()
        await stage.telegram.write("Hello?")
        await said(stage, "failed")
