"""Whatever a caller writes into an argument: no call gets a parameter, a field or a path that the action has not meant.

Every text of every sample is replaced by hostile ones; what is not refused has to be as harmless as the sample was.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.actions import ACTIONS, Plan, Step
from mqtt_bridge.actions.property_string import HEAD, parse
from mqtt_bridge.actions.row import revealed
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.proxmox.segments import Volume, build
from mqtt_bridge.targets import Ref
from proxmox_mcp.lab import apitable
from tests.control.samples import ORDERS, SAMPLES, Sample, planned
from tests.control.world import world

NEVER = re.compile(
    r"args|hookscript|cicustom|(hostpci|usb|parallel|serial|dev)\d*|skip-?lock|script|dumpdir|tmpdir|exclude-path|"
    r"prune-backups|mailto|lxc\..*|force|force-?stop|lock|vmstatestorage|affinity|spice_enhancements|ivshmem|rng\d*|"
    r"shares|entrypoint|env|migration_network|bwlimit|insecure",
    re.IGNORECASE,
)
FORCED = {("/nodes/{node}/startall", "force"), ("/nodes/{node}/stopall", "force-stop")}  # nothing is overruled by them
LINES = frozenset({"description", "ssh-public-keys", "input-data", "command"})  # texts that may have line ends
_DEVICE = re.compile(r"(scsi|virtio|sata|ide|efidisk|tpmstate|mp|rootfs|net|ipconfig|unused)\d*")
_PROPERTIES = frozenset({"boot", "startup", "agent", "features"})
_VOLID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*:[^\x00-\x20,=;\\]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SPLITTERS = (",", "=", ";", "\n", "\r\n", "\0", "\t", "%0a", "%2c", "%00", "\u2028", "\uff0c", "\uff1d", "\u037e", "&",
             "?", "#", "/", "\\", "..", "../", "/../", "%2e%2e%2f", ":", " ", "'", '"', "\u202e", "\ufeff")  # fmt: skip
PAYLOADS = (
    "args=-device x", "hookscript=local:snippets/x.pl", "import-from=/dev/sda", "file=/dev/sda", "mp=/etc", "ro=0",
    "import-from=local:103/vm-103-disk-0.qcow2", "force=1", "skiplock=1", "delete=scsi0", "media=cdrom", "tag=1",
    "/etc/passwd", "/dev/sda", "local:/etc/shadow", "local:../../etc/shadow", "usb0", "hostpci0", "-x", "--force", "",
    "lxc.mount.entry: /", "current", "pending", "UPID:x", "nodes/pve2/qemu/101", "101", "vm/101", "*",
    "https://images.example.org@evil.example/x.iso", "x" * 9000,
)  # fmt: skip


@st.composite
def hostile(draw: st.DrawFn, plain: str) -> str:
    """A text that means harm: beside, inside or in place of what was meant."""
    evil = draw(st.sampled_from(SPLITTERS)) + draw(st.sampled_from(PAYLOADS) | st.text(max_size=6))
    where = draw(st.integers(0, len(plain)))
    return draw(st.sampled_from([plain + evil, evil, evil.lstrip(",=;") + plain, plain[:where] + evil + plain[where:]]))


def texts(action: str, sample: Sample) -> dict[str, str]:
    """Arguments that take text, given in this sample or not; lists of them as their first."""
    found = {}
    for name, info in ACTIONS[action].args.model_fields.items():
        value = sample.args.get(name)
        if isinstance(value, list | tuple):
            value = value[0] if value else ""
        if isinstance(value, str) or (value is None and "str" in str(info.annotation)):
            found[name] = value or ""
    return found


def places(target: Ref) -> dict[str, str]:
    """What of the target is text."""
    return {name: str(value or "") for name, value in vars(target).items() if name != "vmid"}


@st.composite
def orders(draw: st.DrawFn, action: str, sample: Sample) -> Sample:
    """A sample with one or two of its texts made hostile."""
    fields, where = texts(action, sample), places(sample.target)
    chosen = draw(st.lists(st.sampled_from([*fields, *(f"@{name}" for name in where)]), min_size=1, max_size=2))
    args, target = dict(sample.args), sample.target
    for name in chosen:
        if name.startswith("@"):
            target = replace(target, **{name[1:]: draw(hostile(where[name[1:]]))})  # type: ignore[arg-type]
            continue
        evil = draw(hostile(fields[name]))
        args[name] = [evil, *args[name][1:]] if isinstance(args.get(name), list) else evil
    return replace(sample, args=args, target=target)


def attempt(action: str, sample: Sample) -> Plan | None:
    """Its plan; None where it is refused, by an error of ours and nothing else."""
    try:
        plan = asyncio.run(planned(world().clients(sample.overlay), action, sample))
    except BridgeError:
        return None
    return plan if plan.problem is None else None


# --- what a call may hold --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meant:
    """What the sample itself sends: names of parameters without numbers, and the fields of each property string."""

    fields: Mapping[str, frozenset[str]]

    @classmethod
    def by(cls, plan: Plan) -> "Meant":
        found: dict[str, frozenset[str]] = {}
        for key, value in _params(plan):
            found[_stem(key)] = found.get(_stem(key), frozenset()) | (_fields(key, value))
        return cls(found)


def _params(plan: Plan) -> Iterator[tuple[str, Any]]:
    return ((key, value) for step in plan.steps for key, value in revealed(step.params).items())


def _stem(key: str) -> str:
    return key.rstrip("0123456789") if _DEVICE.fullmatch(key) else key


def _fields(key: str, value: Any) -> frozenset[str]:
    if _DEVICE.fullmatch(key) or key in _PROPERTIES:
        return frozenset(parse(str(value)))
    return frozenset()


def check(plan: Plan, meant: Meant) -> None:
    for step in plan.steps:
        _check_path(step)
        _check_names(plan, step)
        for key, value in revealed(step.params).items():
            _check_value(key, value)
            extra = _fields(key, value) - meant.fields.get(_stem(key), frozenset()) - {HEAD}
            assert not extra, f"{key}={value!r} has fields that were not asked for: {extra}"


def _check_path(step: Step) -> None:
    built = build(step.segments)
    for segment in step.segments:
        text = str(segment)
        assert isinstance(segment, Volume) or "/" not in text, text
        assert not {"..", "."} & set(text.split("/")), text
    assert built.count("/") == sum(str(s).count("/") for s in step.segments) + len(step.segments) - 1
    assert "?" not in built
    assert "#" not in built


def _check_names(plan: Plan, step: Step) -> None:
    found = apitable.match(plan.row.kind, step.path)
    assert found is not None, step.path
    assert apitable.check_request(plan.row.kind, step.method, step.path, revealed(step.params)) == []
    bad = {key for key in step.params if NEVER.fullmatch(key) and (found.path, key) not in FORCED}
    assert not bad, bad
    removed = str(step.params.get("delete", ""))
    assert not re.search(r"protection|digest", removed)
    if step.segments[-1] == "vzdump":
        assert step.params["remove"] == 0


def _check_value(key: str, value: Any) -> None:
    if key in LINES:
        return
    text = str(value)
    assert not _CONTROL.search(text), f"{key}={text!r}"
    if _DEVICE.fullmatch(key) and not key.startswith(("net", "ipconfig")):
        given = parse(text)
        for name in (HEAD, "file", "volume", "import-from"):
            assert name not in given or _VOLID.fullmatch(given[name]), f"{key}={text!r}"
            assert ".." not in given.get(name, "").split("/")
    if key in {"archive", "ostemplate", "volume"} and ":" in text:
        assert _VOLID.fullmatch(text), text
        assert ".." not in re.split("[:/]", text)
    assert key not in {"archive", "ostemplate"} or ":" in text


@pytest.mark.parametrize(("action", "number"), ORDERS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_hostile_arguments_send_nothing_that_was_not_meant(action: str, number: int, data: st.DataObject) -> None:
    plan = attempt(action, data.draw(orders(action, SAMPLES[action][number])))
    if plan is not None:
        check(plan, meant_by(action, number))


@cache
def meant_by(action: str, number: int) -> Meant:
    plan = attempt(action, SAMPLES[action][number])
    assert plan is not None
    return Meant.by(plan)


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_no_sample_sends_what_is_never_sent(action: str, number: int) -> None:
    """Two of the guests have `args` and `hookscript` in their configurations: they are not sent back either."""
    plan = attempt(action, SAMPLES[action][number])
    assert plan is not None
    check(plan, meant_by(action, number))


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_takes_what_is_never_sent(action: str) -> None:
    fields = ACTIONS[action].args.model_fields
    names = {info.serialization_alias or name for name, info in fields.items()}
    assert not {name for name in names if NEVER.fullmatch(name)} - {"force", "force-stop"}
    assert "force" not in names or action == "node.startall"


def test_the_check_sees_what_it_is_for() -> None:
    """Each of these would be sent by a careless program."""
    plan = attempt("disk.add", SAMPLES["disk.add"][0])
    assert plan is not None
    step, meant = plan.steps[0], Meant.by(plan)
    for params in (
        {"scsi5": "ceph-vm:8,import-from=local:x"},
        {"scsi5": "/dev/sda"},
        {"args": "-device x"},
        {"scsi5": "ceph-vm:8,discard=on\nargs: x"},
        {"delete": "protection"},
        {"force": 1},
    ):
        with pytest.raises(AssertionError):
            check(replace(plan, steps=(replace(step, params=params),)), meant)
    for segments in (("nodes", "pve1", "qemu", "100/../101", "config"), ("nodes", "..", "qemu", 100, "config")):
        with pytest.raises((AssertionError, BridgeError)):
            check(replace(plan, steps=(replace(step, segments=segments),)), meant)
