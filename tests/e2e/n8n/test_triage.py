"""Event triage in a real n8n: what the model may do, what people are asked, and what the lab saw of it."""

import asyncio
import json

from tests.e2e.n8n.stage import Stage, changed, workflow
from tests.e2e.n8n.stand_ins import calls, says

TRIAGE = "1-event-triage"
GUEST = 113  # a VM that runs
VERDICT = {
    "what": "Guest 113 died.",
    "why": "Its process ended without a task.",
    "evidence": ["get_guest: stopped"],
    "action": {"command": "start", "vmid": GUEST},
    "advice": "Start it.",
    "confidence": 0.8,
}
STARTS = f"*/qemu/{GUEST}/status/start"


async def crashed(stage: Stage, guest: int = GUEST) -> None:
    await stage.until(lambda: stage.tree.status(guest) == "running")
    stage.lab.fault("guest-crash", guest)


async def test_a_crash_is_triaged_and_mended_once_somebody_agrees(stage: Stage) -> None:
    stage.model.steps = [calls("get_guest", vmid=GUEST), says(f"Here it is:\n```json\n{json.dumps(VERDICT)}\n```")]
    async with stage.published(TRIAGE) as triage:
        await crashed(stage)
        links = await stage.asked("Guest 113 died")
        (verdict,) = stage.said("triage")
        assert verdict["action"] == {"command": "start", "vmid": GUEST}
        assert verdict["evidence"] == ["get_guest: stopped"]
        assert stage.posts(STARTS) == 0
        assert all(name.startswith("Proxmox_get_") or name == "Proxmox_run_diagnostic" for name in stage.model.offered)
        await stage.follow(links["Do it"])
        await stage.told("Done: start guest 113")
        execution = await stage.ended(triage)
        assert execution.status == "success", execution
        assert stage.posts(STARTS) == 1
        assert stage.lab.guest(GUEST).running


async def test_a_refusal_changes_nothing(stage: Stage) -> None:
    stage.model.steps = [says(json.dumps(VERDICT))]
    async with stage.published(TRIAGE) as triage:
        await crashed(stage)
        links = await stage.asked("Guest 113 died")
        await stage.follow(links["No"])
        assert "refused" in (await stage.told("Not done: start guest 113"))["message"]
        assert (await stage.ended(triage)).status == "success"
        assert stage.posts(STARTS) == 0


async def test_a_model_that_answers_prose_or_asks_for_what_it_was_not_given(stage: Stage) -> None:
    async with stage.published(TRIAGE) as triage:
        stage.model.steps = [says("I think the guest is just tired. {not json}")]
        await crashed(stage)
        told = await stage.told("just tired")
        assert "Nothing proposed" in told["message"]
        execution = await stage.ended(triage)
        assert execution.status == "success", execution

        stage.after = execution.id
        stage.model.steps = [
            calls("Proxmox_execute_vm_command", vmid=GUEST, command="start"),
            says(json.dumps(VERDICT)),
        ]
        await crashed(stage, 101)
        await stage.until(lambda: len(stage.said("triage")) == 2)
        execution = await stage.ended(triage)
        assert execution.status == "success", execution
        assert [one["action"] for one in stage.said("triage")] == [None, None]
        assert stage.discord.sent == []
        assert stage.posts("*/status/*") == 0


async def test_what_is_proposed_for_another_guest_or_command_is_dropped(stage: Stage) -> None:
    async with stage.published(TRIAGE) as triage:
        for number, action in enumerate(({"command": "start", "vmid": 103}, {"command": "stop", "vmid": 105})):
            stage.model.steps = [says(json.dumps({**VERDICT, "action": action}))]
            await crashed(stage, (101, 105)[number])
            execution = await stage.ended(triage)
            assert execution.status == "success", execution
            stage.after = execution.id
        assert [one["action"] for one in stage.said("triage")] == [None, None]
        assert stage.discord.sent == []


async def test_what_happened_while_n8n_was_away_is_fetched_once(stage: Stage) -> None:
    await crashed(stage)
    await stage.until(lambda: [one for one in stage.said("event", "error") if one["guest"] == GUEST])
    stage.model.steps = [says(json.dumps({**VERDICT, "action": None}))]
    async with stage.published(TRIAGE) as triage:
        for _ in range(2):
            await stage.run(triage, "Every 15 minutes")
            execution = await stage.ended(triage)
            assert execution.status == "success", execution
            stage.after = execution.id
        assert [one["guest"] for one in stage.said("triage")].count(GUEST) == 1


async def test_without_a_model_people_are_told_all_the_same(stage: Stage) -> None:
    stage.model.status = 400
    async with stage.published(TRIAGE) as triage:
        await crashed(stage)
        told = await stage.told("Triage:")
        assert "Not looked into" in told["message"]
        assert (await stage.ended(triage)).status == "success"


async def test_nobody_who_answers_is_a_no(stage: Stage) -> None:
    raw = workflow(TRIAGE, stage.ports)
    await stage.replaced(raw | changed(raw, patience=0.05))
    stage.model.steps = [says(json.dumps(VERDICT))]
    async with stage.published(TRIAGE) as triage:
        await crashed(stage)
        await stage.asked("Guest 113 died")
        assert "nobody answered" in (await stage.told("Not done: start guest 113", 120))["message"]
        assert (await stage.ended(triage)).status == "success"
        assert stage.posts("*/status/*") == 0
    await stage.replaced(workflow(TRIAGE, stage.ports))


async def test_without_our_server_the_verdict_says_that_nothing_was_looked_into(stage: Stage) -> None:
    raw = workflow(TRIAGE, stage.ports)
    await stage.replaced(raw | changed(raw, mcpUrl="http://127.0.0.1:9/mcp"))
    stage.model.steps = [says(json.dumps(VERDICT))]
    async with stage.published(TRIAGE) as triage:
        await crashed(stage)
        assert "Not looked into" in (await stage.told("Triage:"))["message"]
        assert (await stage.ended(triage)).status == "success"
        assert [one["action"] for one in stage.said("triage")] == [None]
    await stage.replaced(workflow(TRIAGE, stage.ports))


async def test_a_broker_that_was_restarted_loses_nothing_and_tells_nothing_twice(stage: Stage) -> None:
    stage.model.steps = [says(json.dumps({**VERDICT, "action": None}))]
    async with stage.published(TRIAGE) as triage:
        await stage.until(lambda: stage.tree.status(GUEST) == "running")
        await stage.mosquitto.restart()
        stage.lab.fault("guest-crash", GUEST)
        await stage.until(lambda: [one for one in stage.said("event", "error") if one["guest"] == GUEST])
        await asyncio.sleep(5)  # n8n may have it over MQTT by now, or was not back yet
        before = await stage.n8n.last_execution()
        await stage.run(triage, "Every 15 minutes")
        execution = await stage.n8n.execution(triage, before)
        assert execution.status == "success", execution
        await stage.until(lambda: [one for one in stage.said("triage") if one["guest"] == GUEST])
        assert [one["guest"] for one in stage.said("triage")].count(GUEST) == 1
