"""The one serializer of property strings, and its way back."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.actions import ActionError
from mqtt_bridge.actions.property_string import HEAD, Value, alter, parse, render, volume_of

UNSAFE = ",=;\n\r\t\0\x1b\x7f"
safe = st.text(st.characters(exclude_characters=UNSAFE, exclude_categories=("Cc", "Cs", "Z")), min_size=1)
keys = st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True)


def test_fields_in_their_order_with_numbers_for_yes_and_no() -> None:
    fields: dict[str, Value] = {"bridge": "vmbr0", "firewall": True, "tag": 12, "rate": None, "link_down": False}
    assert render(fields, head="virtio") == "virtio,bridge=vmbr0,firewall=1,tag=12,link_down=0"


def test_a_list_is_joined_by_semicolons() -> None:
    assert render({"order": ("scsi0", "ide2", "net0")}) == "order=scsi0;ide2;net0"


@pytest.mark.parametrize("bad", ["a,b", "a=b", "a;b", "a\nb", "a\0b", "\x1b[0m", "", " a", "a ", "a\x7f"])
def test_a_value_that_could_say_something_else_is_refused(bad: str) -> None:
    wrong: list[Callable[[], str]] = [
        lambda: render({"bridge": bad}),
        lambda: render({}, head=bad),
        lambda: render({"order": ("scsi0", bad)}),
        lambda: alter("virtio,bridge=vmbr0", {"bridge": bad}),
        lambda: alter("local:1", {}, head=bad),
    ]
    for make in wrong:
        with pytest.raises(ActionError, match="cannot be sent"):
            make()


def test_a_key_is_never_a_callers() -> None:
    with pytest.raises(ValueError, match="no key"):
        render({"a=b": 1})


@given(st.dictionaries(keys, safe, max_size=6), st.none() | safe)
def test_what_was_written_is_read_back(fields: dict[str, str], head: str | None) -> None:
    expected = ({HEAD: head} if head is not None else {}) | fields
    assert parse(render(fields, head=head)) == expected


@given(st.dictionaries(keys, st.text(), min_size=1, max_size=3))
def test_no_value_becomes_another_field(fields: dict[str, str]) -> None:
    try:
        text = render(fields)
    except ActionError:
        return
    assert parse(text) == fields


def test_altering_keeps_what_it_does_not_know() -> None:
    old = "local:100/vm-100-disk-0.qcow2,cache=writeback,mountoptions=noatime;nodev,size=32G"
    new = alter(old, {"cache": None, "ssd": True})
    assert new == "local:100/vm-100-disk-0.qcow2,mountoptions=noatime;nodev,size=32G,ssd=1"
    assert alter(old, {"size": "40G"}, head="local:x") == "local:x,cache=writeback,mountoptions=noatime;nodev,size=40G"


def test_altering_an_address_keeps_the_model() -> None:
    old = "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1"
    assert alter(old, {"bridge": "vmbr1"}) == "virtio=BC:24:11:00:00:01,bridge=vmbr1,firewall=1"


@pytest.mark.parametrize(
    ("drive", "volume"),
    [
        ("local-lvm:vm-100-disk-0,size=32G", "local-lvm:vm-100-disk-0"),
        ("file=local:iso/a.iso,media=cdrom", "local:iso/a.iso"),
        ("volume=local:200/x.raw,mp=/data", "local:200/x.raw"),
        ("none,media=cdrom", ""),
        ("/mnt/host,mp=/data", ""),
        ("/mnt/a:b,mp=/data", ""),
    ],
)
def test_the_volume_of_a_drive(drive: str, volume: str) -> None:
    assert volume_of(drive) == volume
