"""Approvals by way of a real n8n: asked in Discord, decided with a proof, withdrawn when they expire."""

import uuid
from pathlib import Path
from typing import Any

from tests.e2e.n8n.n8n import N8n
from tests.e2e.n8n.stage import OPERATOR, Ports, Stage, changed, staged, workflow
from tests.support.processes import over_http

APPROVALS = "3-approvals"
GUEST = 113  # a VM that runs


async def ask_to_delete(stage: Stage) -> dict[str, Any]:
    """An agent wants to delete a guest; gives what it was answered."""
    async with over_http(stage.ports.url, OPERATOR) as agent:
        await agent.ask("execute_vm_command", vmid=GUEST, command="stop")
        answer = await agent.ask("delete_guest", vmid=GUEST)
    assert answer["status"] == "approval_required", answer
    return dict(answer["approval"])


async def again(stage: Stage, given: str) -> dict[str, Any] | str:
    async with over_http(stage.ports.url, OPERATOR) as agent:
        return await agent.attempt("delete_guest", vmid=GUEST, approval=given) or agent.answers[-1]


async def decide(stage: Stage, link: str, decision: str, name: str = "Ann") -> None:
    """Open the form, which decides nothing, fill it in and send it."""
    status, page = await stage.opened("GET", link)
    assert status == 200
    assert "Decision" in page
    border = uuid.uuid4().hex
    fields = {"field-0": decision, "field-1": name}
    parts = [f'--{border}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    body = ("".join(parts) + f"--{border}--\r\n").encode()
    status, answer = await stage.opened(
        "POST", link, body, **{"content-type": f"multipart/form-data; boundary={border}"}
    )
    assert status == 200, answer


async def test_it_is_asked_in_discord_and_approved_with_a_proof(stage: Stage) -> None:
    async with stage.published(APPROVALS) as approvals:
        given = await ask_to_delete(stage)
        link = (await stage.asked("DELETE"))["Decide"]
        assert "nextcloud" in stage.discord.text
        assert stage.lab.requests.count("DELETE") == 0
        await decide(stage, link, "Approve")
        assert "Ann decided" in (await stage.told("Approved:"))["message"]
        execution = await stage.execution_with(approvals, "Publish the decision")
        assert execution.status == "success", execution
        (result,) = stage.said("result", given["id"])
        assert result["ok"], result
        assert result["by"] == "n8n"
        answer = await again(stage, given["id"])
        assert isinstance(answer, dict), answer
        assert answer["status"] == "done", answer
        assert GUEST not in stage.lab.world.guests
        await stage.until(lambda: len(stage.discord.deleted) == 1, "the question stays")


async def elsewhere(stage: Stage, given: str) -> None:
    """Somebody else rejects it, not by way of n8n; rejecting needs no proof."""
    topic = f"proxmox/lab/approval/{given}/decision/bob"
    await stage.tree.bus.publish(topic, b'{"decision": "reject"}', qos=1)
    await stage.until(lambda: [one for one in stage.said("result", given) if one["by"] == "bob"])


async def test_what_is_decided_elsewhere_is_taken_down_and_a_form_that_was_open_comes_too_late(stage: Stage) -> None:
    async with stage.published(APPROVALS) as approvals:
        given = await ask_to_delete(stage)
        link = (await stage.asked("DELETE"))["Decide"]
        await elsewhere(stage, given["id"])
        await stage.until(lambda: stage.discord.deleted, "the question stays")
        assert stage.discord.there == []
        await decide(stage, link, "Approve")
        assert "decided elsewhere" in (await stage.told("Too late:"))["message"]
        execution = await stage.execution_with(approvals, "Read the decision")
        assert execution.status == "success", execution
        assert [one["by"] for one in stage.said("result", given["id"])] == ["bob"]
        assert stage.lab.requests.count("DELETE") == 0


async def test_the_bridge_refuses_what_comes_too_late_and_people_are_told(stage: Stage) -> None:
    """The bot may not take its question down, so the form looks as good as ever."""
    stage.discord.refuse_deleting = True
    async with stage.published(APPROVALS):
        given = await ask_to_delete(stage)
        link = (await stage.asked("DELETE"))["Decide"]
        await elsewhere(stage, given["id"])
        await decide(stage, link, "Approve")
        told = await stage.told("Not taken:")
        assert told["severity"] == "warning"
        assert "rejected" in told["message"]
        refused = [one for one in stage.said("result", given["id"]) if one["by"] == "n8n"]
        assert [one["ok"] for one in refused] == [False]
        assert isinstance(await again(stage, given["id"]), str)
        assert stage.lab.requests.count("DELETE") == 0


async def test_a_name_that_is_not_on_the_list_decides_nothing(stage: Stage) -> None:
    raw = workflow(APPROVALS, stage.ports)
    await stage.replaced(raw | changed(raw, deciders="Ann, Bob"))
    async with stage.published(APPROVALS) as approvals:
        given = await ask_to_delete(stage)
        await decide(stage, (await stage.asked("DELETE"))["Decide"], "Approve", "Mallory")
        assert "Mallory is none of those" in (await stage.told("Not decided:"))["message"]
        assert (await stage.execution_with(approvals, "Read the decision")).status == "success"
        assert stage.said("result", given["id"]) == []
        answer = await again(stage, given["id"])
        assert isinstance(answer, dict), answer
        assert answer["status"] == "approval_required", "it waits still"
        assert GUEST in stage.lab.world.guests
    await stage.replaced(workflow(APPROVALS, stage.ports))


async def test_a_rejection_is_final(stage: Stage) -> None:
    async with stage.published(APPROVALS):
        given = await ask_to_delete(stage)
        await decide(stage, (await stage.asked("DELETE"))["Decide"], "Reject")
        await stage.told("Rejected:")
        await stage.until(lambda: stage.said("result", given["id"]))
        assert isinstance(await again(stage, given["id"]), str)
        assert GUEST in stage.lab.world.guests
        assert stage.lab.requests.count("DELETE") == 0


async def test_what_nobody_decides_is_withdrawn(ports: Ports, n8n: N8n, tmp_path: Path) -> None:
    async with staged(tmp_path, ports, n8n, APPROVAL_TIMEOUT="75") as stage, stage.published(APPROVALS) as approvals:
        await ask_to_delete(stage)
        link = (await stage.asked("DELETE"))["Decide"]
        await stage.told("Withdrawn:", 150)
        execution = await stage.execution_with(approvals, "Read the decision")
        assert execution.status == "success", execution
        status, answer = await stage.n8n.reach("GET", link)
        assert status != 200 or "Decision" not in str(answer)
        await stage.until(lambda: stage.discord.deleted, "the question stays")
        assert stage.said("result") == [] or not [one for one in stage.said("result") if one.get("by") == "n8n"]
        assert GUEST in stage.lab.world.guests


async def test_one_that_waited_while_the_broker_was_restarted_is_asked_once(stage: Stage) -> None:
    async with stage.published(APPROVALS):
        given = await ask_to_delete(stage)
        link = (await stage.asked("DELETE"))["Decide"]
        await stage.mosquitto.restart()
        await stage.until(lambda: stage.tree.bus.connected)
        await stage.until(lambda: stage.tree.json(f"lab/approval/{given['id']}"))
        await decide(stage, link, "Approve")
        await stage.told("Approved:")
        await stage.until(lambda: stage.said("result", given["id"]))
        assert stage.said("result", given["id"])[-1]["ok"]
        assert len(stage.discord.sent) == 1
