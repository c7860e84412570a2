"""Topics are built and parsed by one table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.topics import TABLE, TopicKind, Topics

LEVEL = st.text("abcXYZ019-_.", min_size=1, max_size=12)


def _ids(kind: TopicKind) -> list[str]:
    return [part.split(">")[0] for part in kind.pattern.split("<")[1:]]


@given(st.sampled_from(TABLE), st.data())
def test_what_is_built_is_parsed(kind: TopicKind, data: st.DataObject) -> None:
    names = Topics("base/of/ours")
    ids = {name: data.draw(LEVEL.filter(lambda t: t != "bridge")) for name in _ids(kind)}
    parsed = names.parse(names.build(kind.name, **ids))
    assert parsed is not None
    assert (parsed.kind.name, parsed.ids) == (kind.name, ids)


@pytest.mark.parametrize("bad", ["a/b", "+", "a#", "", "x\0y"])
def test_what_mqtt_cannot_carry_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in an MQTT topic"):
        Topics().build("node", site="lab", node=bad)


@pytest.mark.parametrize("topic", ["proxmox/bridge/state", "other/lab/state", "proxmox", "proxmox/lab/guest/1/2/3", ""])
def test_foreign_topics_are_no_topics_of_ours(topic: str) -> None:
    assert Topics().parse(topic) is None


def test_filters_take_any_id_that_is_not_given() -> None:
    names = Topics()
    assert names.filter("guest_metrics", site="lab") == "proxmox/lab/guest/+/metrics"
    assert names.filter("event") == "proxmox/+/event/+/#"
