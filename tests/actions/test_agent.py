"""Programs in guests: what comes back, what is never shown, and why some cannot run, on the lab."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError, ActionResult, agent
from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef
from tests.approvals.making import AGENT, SETTINGS
from tests.policy.bench import CT, ROOT, STOPPED_VM, VM, Bench, opened

HIDDEN = "hidden-4711"


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(agent, "PACE", 0.02)
    async with opened(tmp_path) as running:
        yield running


async def run(bench: Bench, *argv: str, vmid: int = VM, **more: Any) -> ActionResult:
    args = {"argv": list(argv)} | ({"input_data": more.pop("given")} if "given" in more else {})
    return await bench.perform("guest.exec", vmid, args=args, **more)


async def test_a_program_runs_and_what_it_printed_comes_back(bench: Bench) -> None:
    done = await run(bench, "/bin/echo", "a b", "c")
    assert (done.ok, done.status, done.changed) == (True, "done", None)
    assert done.details == {"exitcode": 0, "stdout": "a b c\n", "stderr": ""}
    assert bench.lab.world.agent_runs == [(VM, ["/bin/echo", "a b", "c"], "")]
    assert bench.writes == [f"POST /nodes/pve1/qemu/{VM}/agent/exec"]


async def test_it_reads_what_it_is_given(bench: Bench) -> None:
    done = await run(bench, "cat", given="first line\n")
    assert done.details["stdout"] == "first line\n"


async def test_an_exit_code_that_is_not_0_is_no_success(bench: Bench) -> None:
    done = await run(bench, "false")
    assert (done.ok, done.status, done.details["exitcode"]) == (False, "failed", 1)
    assert done.details["stderr"] == "it is false\n"
    assert "exit code 1" in done.message


async def test_long_output_is_cut_and_that_is_said(bench: Bench) -> None:
    done = await run(bench, "seq", "30000")
    assert len(done.details["stdout"]) == agent.LARGEST
    assert "first 65536 of" in done.details["stdout_truncated"]
    assert done.details["stdout"].startswith("1\n2\n3\n")


async def test_who_waits_until_its_end_waits_no_longer_than_asked(bench: Bench) -> None:
    late = await run(bench, "sleep", "1000", timeout=0.5)
    assert (late.ok, late.status) == (False, "started")
    assert late.details["pid"] >= 100
    assert "runs on" in late.message
    soon = await run(bench, "sleep", "0.2")
    assert (soon.ok, soon.status) == (True, "done")


async def test_not_waiting_gives_the_process(bench: Bench) -> None:
    begun = await run(bench, "sleep", "1000", wait=False)
    assert (begun.ok, begun.status) == (True, "started")
    assert not [r for r in bench.lab.requests if r.path.endswith("exec-status")]


async def test_its_arguments_input_and_output_are_in_no_record(bench: Bench) -> None:
    done = await run(bench, "echo", HIDDEN)
    assert HIDDEN in done.details["stdout"]
    await run(bench, "cat", given=HIDDEN)
    dry = await run(bench, "echo", HIDDEN, dry_run=True)
    assert dry.calls[0].params == {"command": "********"}
    assert "'echo' with 1 argument (not shown). " in dry.notes[0] + " "
    told = done.model_dump_json(exclude={"details"}) + dry.model_dump_json() + json.dumps(bench.records)
    assert HIDDEN not in told
    assert len(bench.records) == 4


async def test_secrets_and_control_characters_in_its_output_are_scrubbed(bench: Bench) -> None:
    done = await run(bench, "cat", given="password=hunter22 \x1b[31mred\x1b[0m")
    assert done.details["stdout"] == "password=******** [31mred[0m"


@pytest.mark.parametrize(
    ("vmid", "says"),
    [(CT, "is a container.*pct exec"), (STOPPED_VM, "is stopped.*Start it"), (116, "no guest agent configured")],
)
async def test_why_it_cannot_run(bench: Bench, vmid: int, says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await run(bench, "uname", vmid=vmid)
    assert bench.writes == []


async def test_an_agent_that_is_dead_or_set_not_to_run_programs(bench: Bench) -> None:
    bench.lab.guest(VM).agent_dead = True
    with pytest.raises(ActionError, match=r"does not answer.*systemctl status qemu-guest-agent"):
        await run(bench, "uname")
    bench.lab.guest(VM).agent_dead = False
    bench.lab.guest(VM).breaks["exec"] = ("off",)
    with pytest.raises(ActionError, match=r"set not to run programs.*blocked RPCs"):
        await run(bench, "uname")
    assert bench.writes == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("uname -a", "must be a list"),
        ([], "begin with the program"),
        (["", "x"], "begin with the program"),
        (["a\0b"], "null characters"),
        (["a"] * 300, "at most 256 arguments"),
        (["a", 1], "list of texts"),
        ({"a": 1}, "not right"),
    ],
)
async def test_what_is_no_argument_list_is_refused(bench: Bench, argv: Any, says: str) -> None:
    with pytest.raises(ActionError, match=says) as caught:
        await bench.perform("guest.exec", VM, args={"argv": argv})
    assert "uname -a" not in str(caught.value)


async def test_the_policy_comes_first(bench: Bench) -> None:
    weak = Principal("weak", "stdio", "destroy")
    with pytest.raises(PolicyError, match="MCP_ALLOW=exec"):
        await bench.actions().perform(weak, "guest.exec", GuestRef(VM), args={"argv": ["uname"]})
    spared = PermissionSettings(mcp_allow="exec", approval_required=frozenset(), protected_tags=frozenset({"prod"}))
    with pytest.raises(PolicyError, match="protected by the tag 'prod'"):
        await bench.actions(spared).perform(ROOT, "guest.exec", GuestRef(VM), args={"argv": ["uname"]})
    assert bench.lab.world.agent_runs == []


async def test_an_approval_shows_the_program_alone_and_holds_for_these_arguments_alone(bench: Bench) -> None:
    async with Approvals(bench.folder, SETTINGS) as approvals:
        actions = bench.actions(PermissionSettings(mcp_allow="exec"), approvals=approvals)

        async def order(*argv: str, approval: str | None = None) -> ActionResult:
            return await actions.perform(
                AGENT, "guest.exec", GuestRef(VM), args={"argv": list(argv)}, approval=approval
            )

        asked = await order("/bin/sh", "-c", HIDDEN)
        assert (asked.status, asked.approval is not None) == ("approval_required", True)
        assert asked.approval is not None
        shown = await approvals.get(asked.approval.id)
        assert shown is not None
        assert "'/bin/sh' with 2 arguments" in shown.notes[0]
        assert "It is a shell" in shown.notes[0]
        assert HIDDEN not in f"{shown!r}{asked!r}{json.dumps(bench.records)}"
        await approvals.decide(asked.approval.id, "approve", Decider("alice", "secret"))
        with pytest.raises(PolicyError, match="is stale"):
            await order("/bin/sh", "-c", HIDDEN + " else", approval=asked.approval.id)
        assert bench.lab.world.agent_runs == []
    async with Approvals(bench.folder, SETTINGS) as approvals:
        again = bench.actions(PermissionSettings(mcp_allow="exec"), approvals=approvals)
        asked = await again.perform(AGENT, "guest.exec", GuestRef(VM), args={"argv": ["echo", HIDDEN]})
        assert asked.approval is not None
        await approvals.decide(asked.approval.id, "approve", Decider("alice", "secret"))
        done = await again.perform(
            AGENT, "guest.exec", GuestRef(VM), args={"argv": ["echo", HIDDEN]}, approval=asked.approval.id
        )
        assert done.details["stdout"] == f"{HIDDEN}\n"
