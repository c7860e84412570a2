"""A guest that stopped unexpectedly: left alone, started after a question, started at once, escalated."""

from tests.e2e.n8n.stage import Stage, changed, workflow
from tests.e2e.n8n.test_triage import crashed

DOWN = "6-guest-down"
GUEST, CONTAINER, MANAGED = 113, 107, 116


async def quick(stage: Stage, **config: object) -> None:
    """Two seconds to settle, not sixty."""
    raw = workflow(DOWN, stage.ports)
    await stage.replaced({**changed(raw, settle=2, **config), "id": raw["id"]})


async def test_it_is_started_after_a_question_and_looked_at_again(stage: Stage) -> None:
    await quick(stage)
    async with stage.published(DOWN) as down:
        await crashed(stage, GUEST)
        links = await stage.asked("Guest 113 (nextcloud)")
        assert stage.posts("*/status/*") == 0
        await stage.follow(links["Start it"])
        assert (await stage.told("was started and runs"))["severity"] == "info"
        execution = await stage.ended(down)
        assert execution.status == "success", execution
        assert stage.posts(f"*/qemu/{GUEST}/status/start") == 1
        assert stage.lab.guest(GUEST).running


async def test_a_refusal_leaves_it_off_also_after_the_broker_was_restarted(stage: Stage) -> None:
    await quick(stage)
    async with stage.published(DOWN):
        await stage.broker_restarted()
        await crashed(stage, GUEST)
        links = await stage.asked("Guest 113")
        await stage.broker_restarted()
        await stage.follow(links["Leave it"])
        assert "decided to leave it" in (await stage.told("was not started"))["message"]
        assert stage.posts("*/status/*") == 0


async def test_nobody_who_answers_is_a_no(stage: Stage) -> None:
    await quick(stage, patience=0.05)
    async with stage.published(DOWN) as down:
        await crashed(stage, GUEST)
        await stage.asked("Guest 113")
        assert "Nobody answered in time" in (await stage.told("was not started", 120))["message"]
        assert (await stage.ended(down)).status == "success"
        assert stage.posts("*/status/*") == 0


async def test_one_with_the_tag_is_started_at_once(stage: Stage) -> None:
    await quick(stage, autoTag="monitoring")
    async with stage.published(DOWN):
        await crashed(stage, CONTAINER)
        await stage.told("(grafana) was started and runs")
        assert stage.discord.sent == []
        assert stage.posts(f"*/lxc/{CONTAINER}/status/start") == 1


async def test_one_that_does_not_start_is_escalated(stage: Stage) -> None:
    await quick(stage, autoTag="monitoring")
    async with stage.published(DOWN) as down:
        stage.lab.fault("task-fail", "vzstart", "no such bridge")
        await crashed(stage, CONTAINER)
        told = await stage.told("(grafana) does not run")
        assert told["severity"] == "critical"
        assert "no such bridge" in told["message"]
        assert (await stage.ended(down)).status == "success"


async def test_one_that_ha_manages_is_left_to_it(stage: Stage) -> None:
    await quick(stage, autoTag="network")
    async with stage.published(DOWN) as down:
        await crashed(stage, MANAGED)
        execution = await stage.ended(down)
        assert execution.status == "success", execution
        told = await stage.told("left alone")
        assert "HA manages it" in told["message"]
        assert stage.discord.sent == []


async def test_without_our_server_people_are_told_and_nothing_is_done(stage: Stage) -> None:
    raw = workflow(DOWN, stage.ports)
    await stage.replaced({**changed(raw, mcpUrl="http://127.0.0.1:9/mcp"), "id": raw["id"]})
    async with stage.published(DOWN):
        await crashed(stage, GUEST)
        assert "did not answer" in (await stage.told("left alone"))["message"]
        assert stage.posts("*/status/*") == 0
