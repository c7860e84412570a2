"""Runs a program in a VM through its guest agent: an argument list, never a line for a shell.

What the program printed is in `details` alone, which goes to whoever asked over MCP: never to MQTT, an event, the audit
file or an approval. Of the arguments only the program's name and their number are shown; an approval is bound to all.
"""

import asyncio
import math
import re
import time
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.result import clean
from mqtt_bridge.actions.row import Action, ActionError, Args, Privilege
from mqtt_bridge.errors import ForbiddenError, RejectedError, UnreachableError
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.redact import redact_text
from mqtt_bridge.secret import Secret
from mqtt_bridge.targets import GuestRef, GuestTarget, Touched

LARGEST: Final = 64 * 1024  # characters of each of stdout and stderr that are given back
LONGEST = 32 * 1024  # characters of all arguments together; Linux takes 128 KiB for one
MOST = 256  # arguments
PACE = 0.3  # seconds between two questions whether it has ended; they become rarer up to SLOW
SLOW = 3.0
PATIENCE = 5.0  # seconds for the agent to show that it is there: one that hangs never answers
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "cmd", "cmd.exe", "powershell", "powershell.exe", "pwsh"})


def _argv(given: object) -> object:
    """A text is no list: it would be the name of a program with spaces in it."""
    if isinstance(given, str):
        raise ValueError('it must be a list of the program and its arguments, like ["ls", "-l", "/var"]')  # noqa: TRY004
    if not isinstance(given, list | tuple):
        return given
    if not all(isinstance(each, str | Secret) for each in given):
        raise ValueError("it must be a list of texts")
    argv = tuple(each if isinstance(each, Secret) else Secret(each) for each in given)
    plain = [each.reveal() for each in argv]
    if not plain or not plain[0].strip():
        raise ValueError("it must begin with the program's name")
    if len(plain) > MOST or sum(map(len, plain)) > LONGEST:
        raise ValueError(f"it must be at most {MOST} arguments and {LONGEST} characters")
    if any("\0" in each for each in plain):
        raise ValueError("it must not contain null characters")
    return argv


def _input(given: object) -> object:
    """Proxmox takes 64 KiB."""
    text = Secret(given) if isinstance(given, str) else given
    if isinstance(text, Secret) and len(text.reveal().encode()) > LARGEST:
        raise ValueError(f"it must be at most {LARGEST} bytes")
    return text


class ExecArgs(Args):
    """`argv`: program and arguments. `input_data`: what the program reads from its standard input."""

    argv: Annotated[tuple[Secret, ...], BeforeValidator(_argv)] = Field(strict=True)
    input_data: Annotated[Secret | None, BeforeValidator(_input)] = None

    @property
    def program(self) -> str:
        """Its name, as an approver may see it."""
        return clean(self.argv[0].reveal())[:80]


async def _plan(reading: Reading, ref: GuestRef, args: ExecArgs) -> Plan:
    guest = await reading.guest(ref)
    api = reading.api(guest.site)
    params: dict[str, Any] = {"command": args.argv}
    if args.input_data:
        params["input-data"] = args.input_data
    path = ("nodes", guest.node, guest.type, guest.vmid, "agent", "exec")
    return Plan(
        ROWS[0],
        api,
        guest,
        (Step("POST", path, params, task=False, hidden=frozenset({"command"})),),
        (Touched(guest),),
        _see,
        args,
        problem=await _problem(api, guest),
        state=guest.state,
        notes=_notes(args),
    )


def _notes(args: ExecArgs) -> tuple[str, ...]:
    many = len(args.argv) - 1
    stdin = f" and {len(args.input_data.reveal())} characters of input" if args.input_data else ""
    said = f"It runs {args.program!r} with {many} argument{'' if many == 1 else 's'}{stdin} (not shown)."
    shell = re.split(r"[\\/]", args.program)[-1].casefold() in _SHELLS
    more = " It is a shell: its arguments can do anything." if shell else ""
    return (f"{said} The guest agent runs it with its own rights, usually root's.{more}",)


async def _problem(api: Api, guest: GuestTarget) -> ActionError | None:
    """Why nothing can run there. What Proxmox does not let us see is for Proxmox to refuse."""
    if guest.type == "lxc":
        return ActionError(
            f"{guest.label} is a container: Proxmox has no API that runs programs in one.",
            cure=f"On {guest.node}: `pct exec {guest.vmid} -- PROGRAM`, or SSH into it.",
        )
    if guest.state != "running":
        return ActionError(f"{guest.label} is {guest.state}; programs run in it while it is running.", cure="Start it.")
    try:
        info = await api.get("nodes", guest.node, "qemu", guest.vmid, "agent", "info", deadline=PATIENCE)
    except ForbiddenError:
        return None
    except (RejectedError, UnreachableError) as error:
        return _silent(guest, error)
    return _blocked(guest, info)


def _silent(guest: GuestTarget, error: RejectedError | UnreachableError) -> ActionError:
    if "No QEMU guest agent configured" in error.message:
        return ActionError(
            f"{guest.label} has no guest agent configured.",
            cure="Install qemu-guest-agent in it, set its option `agent: 1`, then stop and start it.",
        )
    return ActionError(
        f"The guest agent of {guest.label} does not answer: {error.message}",
        cure="Look whether qemu-guest-agent is installed and running in it (systemctl status qemu-guest-agent).",
    )


def _blocked(guest: GuestTarget, info: Any) -> ActionError | None:
    """Some distributions ship an agent that runs nothing."""
    result = info.get("result") if isinstance(info, dict) else None
    listed = result.get("supported_commands") if isinstance(result, dict) else None
    enabled = {row.get("name"): row.get("enabled") for row in listed or () if isinstance(row, dict)}
    if not enabled or enabled.get("guest-exec"):
        return None
    return ActionError(
        f"The guest agent of {guest.label} is set not to run programs (guest-exec).",
        cure="Take guest-exec and guest-exec-status out of the blocked RPCs in its /etc/sysconfig/qemu-ga or "
        "/etc/default/qemu-guest-agent, and restart it.",
    )


async def _see(plan: Plan, outcome: Outcome) -> Seen:
    """Asks until it has ended. It is not ended by us: the agent has no call for that."""
    answer = outcome.answers[0] if outcome.answers else None
    pid = answer.get("pid") if isinstance(answer, dict) else None
    if not isinstance(pid, int):
        return Seen(ok=False, message="the agent did not say which process it began.", changed=None)
    began, pace = time.monotonic(), PACE
    while outcome.wait:
        status = await plan.api.get(*plan.steps[0].segments[:4], "agent", "exec-status", purpose="poll", pid=pid)
        if isinstance(status, dict) and status.get("exited"):
            return _ended(status)
        if outcome.left <= 0:
            break
        await asyncio.sleep(min(pace, outcome.left))
        pace = min(SLOW, pace * 1.5)
    waited = f"had not ended after {math.ceil(time.monotonic() - began)} s" if outcome.wait else "was not waited for"
    text = f"the program was begun (process {pid} in the guest) and {waited}: it runs on, and its output is not known."
    return Seen(ok=not outcome.wait, message=text, changed=None, started=True, details={"pid": pid})


def _ended(status: dict[str, Any]) -> Seen:
    code, signal = status.get("exitcode"), status.get("signal")
    details: dict[str, Any] = {"exitcode": code}
    for name, key in (("stdout", "out"), ("stderr", "err")):
        details |= _cut(name, status.get(f"{key}-data"), all_of_it=not status.get(f"{key}-truncated"))
    if signal is not None:
        details["signal"] = signal
        return Seen(ok=False, message=f"the program was ended by signal {signal}.", changed=None, details=details)
    text = f"the program ended with exit code {code}."
    return Seen(ok=code == 0, message=text, changed=None, details=details)


def _cut(name: str, data: object, *, all_of_it: bool) -> dict[str, Any]:
    """Its text up to the limit; what is missing is said."""
    text = data if isinstance(data, str) else ""
    shown = redact_text(_CONTROL.sub("", text[:LARGEST]))
    if all_of_it and len(text) <= LARGEST:
        return {name: shown}
    more = f"the first {min(len(text), LARGEST)} of {len(text)} characters" if len(text) > LARGEST else "its beginning"
    return {name: shown, f"{name}_truncated": f"only {more}; let the program write less, or into a file"}


ROWS: tuple[Action, ...] = (
    Action(
        "guest.exec",
        "Run a program",
        "exec",
        "guest",
        (Privilege("VM.GuestAgent.Unrestricted", "/vms/{vmid}"),),
        ExecArgs,
        _plan,
    ),
)
