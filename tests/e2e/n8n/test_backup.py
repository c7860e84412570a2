"""A failed backup: tried again after a question, space freed after an approval, told to a person otherwise."""

from tests.e2e.n8n.stage import OPERATOR, Stage, changed, workflow
from tests.e2e.n8n.test_approvals import decide
from tests.support.processes import over_http

BACKUP, APPROVALS = "5-backup-failure", "3-approvals"
GUEST = 113


async def failed(stage: Stage, why: str = "") -> None:
    await stage.until(lambda: stage.tree.status(GUEST) == "running")
    if why:
        stage.lab.fault("task-fail", "vzdump", why)
    else:
        stage.lab.fault("backup-fail", GUEST)
    async with over_http(stage.ports.url, OPERATOR) as agent:
        await agent.attempt("create_backup", vmid=GUEST)


async def test_it_is_tried_again_after_a_question_and_verified(stage: Stage) -> None:
    """The broker is restarted before it, and in the middle."""
    async with stage.published(BACKUP) as backup:
        await stage.broker_restarted()
        await failed(stage)
        links = await stage.asked("The backup of guest 113 failed")
        assert "Input/output error" in stage.discord.text
        assert stage.posts("*/vzdump") == 1
        await stage.broker_restarted()
        await stage.follow(links["Back it up"])
        assert "pbs1:backup/vm/113/" in (await stage.told("is backed up again"))["message"]
        execution = await stage.ended(backup)
        assert execution.status == "success", execution
        assert stage.posts("*/vzdump") == 2


async def test_one_that_fails_again_is_escalated(stage: Stage) -> None:
    async with stage.published(BACKUP) as backup:
        await failed(stage)
        links = await stage.asked("The backup of guest 113 failed")
        stage.lab.fault("backup-fail", GUEST)
        await stage.follow(links["Back it up"])
        assert (await stage.told("still has no good backup"))["severity"] == "critical"
        assert (await stage.ended(backup)).status == "success"


async def test_a_refusal_leaves_it(stage: Stage) -> None:
    async with stage.published(BACKUP):
        await failed(stage)
        await stage.follow((await stage.asked("The backup of guest 113 failed"))["Leave it"])
        assert "decided to leave it" in (await stage.told("still has no new backup"))["message"]
        assert stage.posts("*/vzdump") == 1


async def test_nobody_who_answers_is_a_no(stage: Stage) -> None:
    raw = workflow(BACKUP, stage.ports)
    await stage.replaced(raw | changed(raw, patience=0.05))
    async with stage.published(BACKUP):
        await failed(stage)
        await stage.asked("The backup of guest 113 failed")
        assert "Nobody answered in time" in (await stage.told("still has no new backup", 120))["message"]
        assert stage.posts("*/vzdump") == 1
    await stage.replaced(workflow(BACKUP, stage.ports))


async def test_without_our_server_a_person_is_told_and_nothing_is_done(stage: Stage) -> None:
    raw = workflow(BACKUP, stage.ports)
    await stage.replaced(raw | changed(raw, mcpUrl="http://127.0.0.1:9/mcp"))
    async with stage.published(BACKUP) as backup:
        await failed(stage)
        await stage.told("a person is needed")
        assert (await stage.ended(backup)).status == "success"
        assert stage.discord.sent == []
        assert stage.posts("*/vzdump") == 1
    await stage.replaced(workflow(BACKUP, stage.ports))


async def test_what_a_second_run_would_not_mend_is_told_to_a_person(stage: Stage) -> None:
    stage.lab.fault("storage-fill", "nas", 50)
    async with stage.published(BACKUP) as backup:
        await failed(stage, "command 'mkdir' failed: permission denied")
        execution = await stage.ended(backup)
        assert execution.status == "success", execution
        await stage.told("a person is needed")
        assert stage.discord.sent == []
        assert stage.posts("*/vzdump") == 1


async def test_space_is_freed_once_it_was_approved_and_the_backup_tried_again(stage: Stage) -> None:
    stage.lab.fault("storage-fill", "pbs1", 96)
    async with stage.published(BACKUP, APPROVALS):
        await stage.until(lambda: (stage.tree.json("lab/shared_storage/pbs1") or {}).get("used_percent", 0) > 95)
        await failed(stage)
        links = await stage.asked("garbage collection")
        await stage.follow(links["Free space"])
        await stage.told("waits for approval")
        assert stage.posts("*/gc") == 0
        link = (await stage.asked("datastore", 2))["Decide"]
        await decide(stage, link, "Approve")
        await stage.told("is backed up again", 90)
        assert stage.posts("*/gc") == 1
        assert stage.posts("*/vzdump") == 2
