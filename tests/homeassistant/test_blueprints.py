"""What holds for every blueprint in ha_blueprints/, as far as it can be told without a Home Assistant."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mqtt_bridge.actions import ACTIONS
from mqtt_bridge.commanding import own_words, shutdown_words
from mqtt_bridge.commanding.words import Vocabulary
from mqtt_bridge.homeassistant.guest_rows import EVENTS as GUEST_EVENTS
from mqtt_bridge.homeassistant.ids import encode
from mqtt_bridge.homeassistant.node_rows import EVENTS as NODE_EVENTS
from mqtt_bridge.homeassistant.other_rows import CLUSTER_ROWS
from mqtt_bridge.topics import Parsed, Topics

FOLDER = Path(__file__).parents[2] / "ha_blueprints"
ADDRESS = "https://example.org/proxmox-mcp/ha_blueprints"
IMPORT = "https://my.home-assistant.io/redirect/blueprint_import/?blueprint_url="
FILES = sorted(FOLDER.glob("*/*/*.yaml"))
LARGEST = 80_000  # bytes of a picture
ASKED = ("entity", "device", "target", "text")  # what only people can know: these alone may be without a default
HEAD = {"name", "description", "domain", "author", "source_url", "homeassistant", "input"}
SINGULAR = {"trigger", "condition", "action"}  # how the parts of an automation were called before
OLD = {"platform", "service", "data_template"}
CLUSTER_EVENTS = next(row.options for row in CLUSTER_ROWS if row.key == "event")
EVENTS = {*GUEST_EVENTS, *NODE_EVENTS, *CLUSTER_EVENTS}
_TEMPLATE = re.compile(r"{{.*?}}")
_EVENT = re.compile(r"event_type\b[^=!\[(]{0,40}(?:[=!]=\s*('\w+')|\bin\s*[\[(]([^\])]*))")
_UNESCAPE = re.compile(r"regex_replace\('([^']*)', '([^']*)'\)\)\.split\('_'\)")
_COMMAND = re.compile(r"'command':\s*'([\w.]+)'")


class Input(str):
    """`!input name`."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """YAML, with Home Assistant's `!input`; the same key twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice the same key in {keys}"
        return dict(super().construct_mapping(node, deep=deep))


Loader.add_constructor("!input", lambda _loader, node: Input(node.value))


def walk(part: Any) -> Iterator[Any]:
    """Everything in it, from the outside to the inside."""
    yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from walk(each)


def templates(part: Any) -> Iterator[str]:
    yield from (each for each in walk(part) if isinstance(each, str) and not isinstance(each, Input))


class Blueprint:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        self.whole = yaml.load(self.text, Loader)  # noqa: S506 -- ours is a SafeLoader
        self.head = self.whole["blueprint"]
        self.body = {key: value for key, value in self.whole.items() if key != "blueprint"}
        self.sections = self.head["input"]
        self.inputs = {key: each for section in self.sections.values() for key, each in section["input"].items()}

    def with_key(self, key: str, value: str) -> list[dict[str, Any]]:
        return [each for each in walk(self.body) if isinstance(each, dict) and each.get(key) == value]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def blueprint(request: pytest.FixtureRequest) -> Blueprint:
    return Blueprint(request.param)


def test_the_head(blueprint: Blueprint) -> None:
    head, path = blueprint.head, blueprint.path
    assert set(head) == HEAD
    assert head["name"].startswith("Proxmox: ")
    for part in head["description"].strip().split("\n\n"):
        assert all(re.match(r"[-*\d]", line) for line in part.splitlines()[1:]), f"the UI breaks lines there: {part}"
    assert head["domain"] == path.parent.parent.name
    assert head["author"] == path.parent.name.replace("_", "-") == "proxmox-mcp"
    assert head["source_url"] == f"{ADDRESS}/{path.relative_to(FOLDER)}"
    assert head["homeassistant"] == {"min_version": "2024.10.0"}
    newer = r"\| *(md5|sha1|sha256|sha512|combine|flatten|shuffle|typeof)\b"
    assert re.findall(newer, path.read_text(encoding="utf-8")) == [], "filters that Home Assistant has since 2025 only"


def test_its_inputs_are_in_sections(blueprint: Blueprint) -> None:
    for section in blueprint.sections.values():
        assert set(section) <= {"name", "icon", "description", "collapsed", "input"}
        assert section["name"]
        assert section["icon"].startswith("mdi:")
        assert section["input"]
    last = list(blueprint.sections)[-1]
    assert last == "advanced"
    assert blueprint.sections[last]["collapsed"] is True


def test_each_input_says_what_it_is(blueprint: Blueprint) -> None:
    for key, each in blueprint.inputs.items():
        assert set(each) <= {"name", "description", "default", "selector"}, key
        assert each["name"], key
        assert len(each["selector"]) == 1, key


def test_what_is_optional_has_a_default(blueprint: Blueprint) -> None:
    for section in blueprint.sections.values():
        for key, each in section["input"].items():
            kind = next(iter(each["selector"]))
            assert "default" in each or (kind in ASKED and not section.get("collapsed")), key


def test_a_hook_for_extra_actions(blueprint: Blueprint) -> None:
    hook = blueprint.sections["advanced"]["input"]["extra_actions"]
    assert "action" in hook["selector"]
    assert hook["default"] == []
    assert hook["description"]


def test_inputs_are_declared_and_used(blueprint: Blueprint) -> None:
    used = {str(each) for each in walk(blueprint.body) if isinstance(each, Input)}
    assert used == set(blueprint.inputs)


def test_people_choose_among_what_fits(blueprint: Blueprint) -> None:
    for key, each in blueprint.inputs.items():
        ((kind, how),) = each["selector"].items()
        if kind == "entity":
            assert all(one.get("domain") for one in how["filter"]), key
        if kind == "device":
            ours = [one for one in how["filter"] if one["integration"] != "mobile_app"]
            assert how["filter"], key
            assert all(one["integration"] == "mqtt" and one["manufacturer"] == "Proxmox" for one in ours), key
        if kind == "select":
            values = {one["value"] for one in how["options"]}
            assert values >= set(each["default"] if how.get("multiple") else [each["default"]]), key


def test_the_words_of_today(blueprint: Blueprint) -> None:
    assert not set(blueprint.body) & SINGULAR
    assert not [each for each in walk(blueprint.body) if isinstance(each, dict) and set(each) & OLD]
    parts = {"triggers", "actions"} if blueprint.head["domain"] == "automation" else {"sequence"}
    assert parts <= set(blueprint.body)


def test_how_many_run_at_a_time(blueprint: Blueprint) -> None:
    mode = blueprint.body["mode"]
    if mode in {"parallel", "queued"}:
        assert blueprint.body["max"] >= 2
        assert blueprint.body["max_exceeded"] == "warning"
    else:
        assert mode in {"single", "restart"}


def test_flaps_and_restarts_are_no_happenings(blueprint: Blueprint) -> None:
    for one in blueprint.with_key("trigger", "state"):
        before = one.get("from", one.get("not_from"))
        after = one.get("to", one.get("not_to"))
        assert before, one
        assert after, one
        if "not_from" in one:
            assert {"unavailable", "unknown"} <= set(before) or ("event" in str(one) and "unavailable" in before), one
        if "not_to" in one:
            assert {"unavailable", "unknown"} <= set(after), one
    if blueprint.with_key("trigger", "numeric_state"):  # it fires when what was unavailable comes back above
        assert "trigger.from_state" in blueprint.text


def test_a_state_may_be_none_when_its_device_is_removed(blueprint: Blueprint) -> None:
    for text in templates(blueprint.body):
        if "trigger.to_state." in text:
            assert "trigger.to_state is not none" in text or "trigger.to_state is not none" in blueprint.text


def test_only_topics_that_there_are(blueprint: Blueprint) -> None:
    for one in blueprint.with_key("trigger", "mqtt"):
        found = parsed(one["topic"])
        assert found, one["topic"]
        assert not found.kind.inbound, one["topic"]
    for one in blueprint.with_key("action", "mqtt.publish"):
        found = parsed(one["data"]["topic"])
        assert found, one["data"]["topic"]
        assert found.kind.inbound, one["data"]["topic"]
        assert not one["data"].get("retain"), "a command is never stored"
        assert one["data"]["qos"] == 1


def parsed(topic: str) -> Parsed | None:
    """As it could be once its templates are rendered."""
    assert topic.startswith("{{ base }}/"), topic
    plain = _TEMPLATE.sub("x", topic).replace("+", "1").replace("#", "error/backup")
    return Topics("x").parse(plain)


def test_only_event_types_that_there_are(blueprint: Blueprint) -> None:
    for text in templates(blueprint.body):
        for one, several in _EVENT.findall(text):
            words = re.findall(r"'(\w+)'", one or several)
            assert set(words) <= EVENTS, set(words) - EVENTS


def test_only_commands_that_there_are(blueprint: Blueprint) -> None:
    vocabulary = Vocabulary(ACTIONS.values(), (*own_words.WORDS, *shutdown_words.WORDS))
    for one in blueprint.with_key("action", "mqtt.publish"):
        topic, payload = parsed(one["data"]["topic"]), one["data"]["payload"]
        if topic is None or not topic.kind.name.endswith("_command"):
            continue
        words = _COMMAND.findall(payload)
        assert words, payload
        for word in words:
            assert vocabulary.find(topic.kind.name.removesuffix("_command"), word)  # type: ignore[arg-type]
        assert "'id':" in payload, "a command has an id of its own"
        assert "'ts':" in payload, "and its time"
        assert "to_json" in payload, "what comes from outside is quoted"


def test_the_parts_of_an_id(blueprint: Blueprint) -> None:
    """A site or base may be called so that its escaped name looks like more parts."""
    for text in templates(blueprint.body):
        assert "replace('_cluster'" not in text
        assert "base | replace(" not in text, "a base has other signs, too"
        for pattern, becomes in _UNESCAPE.findall(text):
            for base, site in (("proxmox", "lab"), ("home.pve/a_b", "pve_cluster"), ("p", "_my_guest_")):
                found = re.sub(pattern, becomes.replace(r"\\", "\\"), encode((base, site, "guest", "100"))).split("_")
                assert [found[1].replace("~5f~", "_"), *found[2:]] == [site, "guest", "100"]


def test_blueprints_that_read_ids() -> None:
    assert {path.stem for path in FILES if _UNESCAPE.search(path.read_text())} == {
        "snapshot_before_update",
        "ups_shutdown",
    }


def test_phones_that_were_removed_are_none(blueprint: Blueprint) -> None:
    assert "phones == []" not in blueprint.text, "whoever replaced all phones is told elsewhere"


def test_the_readme_shows_it(blueprint: Blueprint) -> None:
    readme = (FOLDER / "README.md").read_text()
    name, place = blueprint.path.stem, blueprint.path.relative_to(FOLDER)
    assert f"({place})" in readme, "no row in the table"
    assert f"]({IMPORT}{ADDRESS}/{place})" in readme, "no import link"
    assert f"(pictures/{name}.png)" in readme, "no picture of its form"
    picture = FOLDER / "pictures" / f"{name}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= LARGEST


def test_there_are_blueprints() -> None:
    assert FILES
