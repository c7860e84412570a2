"""The dashboard of ha_blueprints looks for entities by what the tables give them: they must agree."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mqtt_bridge.homeassistant.payload import build
from mqtt_bridge.homeassistant.thing import ROWS
from tests.homeassistant.things import THINGS, around

FILE = Path(__file__).parents[2] / "ha_blueprints" / "dashboard" / "proxmox.yaml"
CORE = {"heading", "markdown", "grid", "sections"}
ENTITY_ID = re.compile(r"\b(?:sensor|binary_sensor|switch|button|event|update)\.[a-z0-9_]{2,}")
TEXT = FILE.read_text(encoding="utf-8")
ENTITIES = [row for rows in ROWS.values() for row in rows]


def types(part: Any) -> Iterator[str]:
    """Of all cards, sections and views."""
    if isinstance(part, dict):
        if "type" in part:
            yield part["type"]
        for each in part.values():
            yield from types(each)
    elif isinstance(part, list):
        for each in part:
            yield from types(each)


def test_it_has_core_cards_alone_and_names_no_entity() -> None:
    assert set(types(yaml.safe_load(TEXT))) == CORE
    assert not ENTITY_ID.findall(TEXT)


def test_every_icon_and_device_class_that_it_looks_for_is_one_entity_of_its_kind() -> None:
    found = re.findall(r"one\(\w+, '(\w+)', '(icon|device_class)', '([\w:-]+)'\)", TEXT)
    found += [("sensor", "icon", icon) for icon in re.findall(r"icon == '([\w:-]+)'", TEXT)]
    found += [("binary_sensor", "device_class", each) for each in re.findall(r"class == '(\w+)'", TEXT)]
    assert len(found) > 20
    for platform, field, value in found:
        name = "icon" if field == "icon" else "device_class"
        for kind, rows in ROWS.items():
            fits = [r.key for r in rows if r.platform == platform and r.enabled and getattr(r, name) == value]
            assert len(fits) <= 1 or kind == "cluster", f"{kind}: {value} is {fits}"
        assert [r for r in ENTITIES if r.platform == platform and getattr(r, name) == value], value


def test_every_model_that_it_looks_for_exists() -> None:
    configs = [build(thing, around()) for thing in THINGS.values()]
    models = {model for one in configs if one for model in re.findall(rb'"mdl":"([^"]*)"', one.payload)}
    looked = set(re.findall(r"'model', '([^']+)'", TEXT)) | {"Storage", "Datastore", "Virtual machine", "Container"}
    assert {model.encode() for model in looked} <= models


def test_a_device_without_a_parent_breaks_no_card() -> None:
    """Home Assistant forgets the parent when its device is removed, and `device_attr(none, …)` is an error."""
    nested = re.findall(r"device_attr\(device_attr\(\w+, 'via_device_id'\)([^,]*), ", TEXT)
    assert nested
    assert set(nested) == {" or ''"}


def test_the_shutdown_of_a_site_is_told_by_its_states() -> None:
    """It is the one entity with the option `aborted`."""
    assert [row.key for row in ENTITIES if "aborted" in row.options] == ["shutdown"]
    assert {"running", "aborted", "failed"} <= {one for row in ENTITIES if row.key == "shutdown" for one in row.options}
