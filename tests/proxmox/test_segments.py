import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.errors import UnknownTargetError
from mqtt_bridge.proxmox.segments import Segment, Volume, build, encode, node_of, template

PBS_UPID = r"UPID:pbs:0000031B:000004F6:00000A13:68D88F00:prunejob:nas\x2dbackups:root@pam:"


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        (("nodes", "pve1", "qemu", 100, "status", "current"), "nodes/pve1/qemu/100/status/current"),
        (("access", "users", "root@pam", "token", "full"), "access/users/root@pam/token/full"),
        (
            ("nodes", "localhost", "tasks", PBS_UPID, "status"),
            f"nodes/localhost/tasks/{PBS_UPID.replace(chr(92), '%5C')}/status",
        ),
        (
            ("storage", "local", "content", Volume("local:backup/vzdump-qemu-100-2026_01_01.vma.zst")),
            "storage/local/content/local:backup/vzdump-qemu-100-2026_01_01.vma.zst",
        ),
        (("content", Volume("nas:iso/a b?c#d%2e.iso")), "content/nas:iso/a%20b%3Fc%23d%252e.iso"),
    ],
)
def test_paths(segments: tuple[Segment, ...], path: str) -> None:
    assert build(segments) == path


@pytest.mark.parametrize(
    "bad",
    [
        "a/../../x",
        "..",
        ".",
        "",
        "a/b",
        "a b",
        "a?b",
        "a#b",
        "a%2fb",
        "a\nb",
        "ä",
        "a\\b",
        "local:iso/x.iso",
        "UPID:pve1:/../../x:",
        "x" * 300,
        Volume("local:backup/../../../x"),
        Volume("local:backup//x"),
        Volume("local:"),
        Volume("../x:y"),
        Volume("backup/x"),
        Volume("local:a\nb"),
        Volume("local:a\\b"),
        Volume("local:./x"),
    ],
)
def test_what_could_leave_its_place_is_refused(bad: Segment) -> None:
    with pytest.raises(UnknownTargetError):
        build(("nodes", bad, "status"))


@given(st.text(alphabet=string.printable + "äΩ\u202e", max_size=40))
def test_no_text_makes_more_than_one_segment(text: str) -> None:
    try:
        path = build(("nodes", text, "status"))
    except UnknownTargetError:
        return
    assert path.split("/") == ["nodes", text, "status"]
    assert text not in {"", ".", ".."}


def test_templates_have_no_names() -> None:
    assert template(("nodes", "pve1", "qemu", 100, "status", "current")) == "nodes/*/qemu/*/status/current"
    assert template(("cluster", "resources")) == "cluster/resources"
    assert template(("nodes", "localhost", "tasks", PBS_UPID, "log")) == "nodes/*/tasks/*/log"
    assert template(("storage", "local", "content", Volume("local:iso/x.iso"))) == "storage/*/content/*"


def test_node() -> None:
    assert node_of(("nodes", "pve1", "status")) == "pve1"
    assert node_of(("nodes",)) is None
    assert node_of(("cluster", "nodes")) is None


def test_parameters() -> None:
    given_ = {"a": True, "b": False, "c": 5, "d": None, "e": ["ls", "-l"], "f": 1.5}
    assert encode("pve", given_) == {"a": "1", "b": "0", "c": "5", "e": ["ls", "-l"], "f": "1.5"}
    assert encode("pbs", {"a": True, "b": False}) == {"a": "true", "b": "false"}
    with pytest.raises(TypeError, match="parameter a is a dict"):
        encode("pve", {"a": {"secret": "x"}})
