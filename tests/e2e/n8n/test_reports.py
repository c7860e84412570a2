"""The daily health report and the error workflow in a real n8n."""

from pathlib import Path

from tests.e2e.n8n.n8n import N8n
from tests.e2e.n8n.stage import Ports, Stage, changed, staged, workflow
from tests.e2e.n8n.stand_ins import says
from tests.support.services import NTFY_TOKEN, NtfyServer

HEALTH, ERRORS = "4-daily-health-report", "8-errors"


async def test_the_report_is_mailed_and_told_without_a_model(stage: Stage) -> None:
    stage.lab.fault("storage-fill", "nas", 97)
    await stage.until(lambda: (stage.tree.json("lab/shared_storage/nas") or {}).get("used_percent", 0) > 96)
    async with stage.published(HEALTH) as health:
        before = len(stage.lab.requests)
        await stage.run(health, "Start by hand")
        execution = await stage.ended(health)
        assert execution.status == "success", execution
        told = await stage.told("Proxmox health")
        assert "nas" in told["message"]
        assert "in a backup job" in told["message"]
        (mail,) = stage.mail.mails
        assert mail["To"] == "ann@example.org"
        html = mail.get_body(("html",))
        assert html is not None
        assert "nas" in html.get_content()
        assert stage.model.asked == []
        assert not [one for one in list(stage.lab.requests)[before:] if one.method != "GET"]


async def test_a_model_summarises_the_report_where_it_is_switched_on(stage: Stage) -> None:
    raw = workflow(HEALTH, stage.ports)
    for node in raw["nodes"]:
        node.pop("disabled", None)
    await stage.replaced(raw)
    stage.model.steps = [says("All is well, <b>mostly</b>.")]
    async with stage.published(HEALTH) as health:
        await stage.run(health, "Start by hand")
        execution = await stage.ended(health)
        assert execution.status == "success", execution
        assert (await stage.told("Proxmox health"))["message"].startswith("All is well")
        html = stage.mail.mails[0].get_body(("html",))
        assert html is not None
        assert "&lt;b&gt;mostly" in html.get_content()

        stage.model.status = 400  # the model is away: the report goes out all the same
        stage.after = execution.id
        await stage.run(health, "Start by hand")
        execution = await stage.ended(health)
        assert execution.status == "success", execution
        assert len(stage.mail.mails) == 2
    await stage.replaced(workflow(HEALTH, stage.ports))


async def test_without_the_mcp_server_the_report_says_so_and_the_run_fails(stage: Stage) -> None:
    raw = workflow(HEALTH, stage.ports)
    await stage.replaced(changed(raw, mcpUrl="http://127.0.0.1:9/mcp") | {"id": raw["id"]})
    async with stage.published(HEALTH) as health:
        await stage.run(health, "Start by hand")
        execution = await stage.ended(health)
        assert execution.status == "error", execution
        assert (await stage.told("no report"))["severity"] == "warning"
        assert stage.mail.taken == []
    await stage.replaced(workflow(HEALTH, stage.ports))


async def test_a_failing_workflow_is_told_once_an_hour(ports: Ports, n8n: N8n, tmp_path: Path) -> None:
    service = NtfyServer()
    ntfy = {"NTFY_ENABLED": "true", "NTFY_TOPIC": "homelab", "NTFY_TOKEN": NTFY_TOKEN}
    async with service.running(), staged(tmp_path, ports, n8n, **ntfy, NTFY_SERVER_URL=service.url) as stage:
        failing = await stage.failing("one that fails")
        async with stage.published(ERRORS) as errors:
            for _ in range(2):
                await stage.call(failing)
                execution = await stage.ended(errors)
                assert execution.status == "success", execution
                stage.after = execution.id
            (told,) = [str(one) for one in service.messages if "one that fails" in str(one)]
            assert "broken on purpose" in told
            assert stage.mail.taken == []


async def test_an_error_that_nobody_was_told_of_is_mailed(stage: Stage) -> None:
    failing = await stage.failing("one that fails too")  # no notifier is configured
    async with stage.published(ERRORS) as errors:
        await stage.call(failing)
        execution = await stage.ended(errors)
        assert execution.status == "success", execution
        (mail,) = stage.mail.mails
        assert "one that fails too" in mail["Subject"]
        assert "broken on purpose" in mail.as_string()


async def test_an_error_is_mailed_while_our_server_is_away(stage: Stage) -> None:
    failing = await stage.failing("one that fails as well")
    async with stage.published(ERRORS) as errors:
        await stage.server.kill()
        await stage.call(failing)
        execution = await stage.ended(errors)
        assert execution.status == "success", execution
        assert "one that fails as well" in stage.mail.mails[0]["Subject"]
