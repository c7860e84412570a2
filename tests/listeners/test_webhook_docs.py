"""What docs/listeners-webhook.md tells people to paste, as it is there: in real engines and a real shell."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_handlebars import HandlebarsEnvironment, HelperOptions

from mqtt_bridge.wording import classify
from proxmox_mcp.lab.push import handlebars as lab_handlebars

DOCS = Path(__file__).parents[2] / "docs" / "listeners-webhook.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
(TEMPLATE,) = [text for kind, text in BLOCKS if kind == "handlebars"]
SCRIPTS = [text for kind, text in BLOCKS if kind == "sh"]

Render = Callable[[str, dict[str, Any]], str]


def to_json(value: Any) -> str:
    """As serde_json writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


HELPERS: dict[str, Callable[[Any], str]] = {
    "json": to_json,
    "escape": lambda text: to_json(str(text))[1:-1],
    "url-encode": lambda text: quote(str(text), safe=""),
}


def with_pydantic(template: str, data: dict[str, Any]) -> str:
    engine = HandlebarsEnvironment(auto_escape=False)
    for name, helper in HELPERS.items():

        def run(*values: object, options: HelperOptions, helper: Callable[[Any], str] = helper) -> str:
            return helper(values[0])

        engine.register_helper(name, run)
    return engine.render(template, data)


def with_rust(template: str, data: dict[str, Any]) -> str:
    """Proxmox's own engine."""
    rust: Any = importlib.import_module("pyhandlebars")
    engine = rust.PyHandlebars()
    for name, helper in HELPERS.items():
        engine.register_helper(name, lambda params, _context, run=helper: run(params[0]))
    return str(rust.Template(template, client=engine).format(data))


ENGINES: list[Render] = [with_pydantic, lab_handlebars.render]
if importlib.util.find_spec("pyhandlebars"):
    ENGINES.append(with_rust)


def data(title: str, message: str, severity: str = "error", **fields: str) -> dict[str, Any]:
    return {
        "title": title,
        "message": message,
        "severity": severity,
        "timestamp": 1790000000,
        "fields": fields,
        "secrets": {"token": "t"},
    }


NASTY = [
    data("Test notification ", "This is a test of the notification target 'x'.\n", "info"),
    data(
        'say "hi" \\ / \b\f\t',
        "a\r\nb\u2028\u0000\x1b[0m</script>{{title}}&amp;'`=",
        hostname="pve-köln",
        type="vzdump",
    ),
    data("", "", "unknown", **{"job-id": "backup-1", "hostname": "a}}}b", "a b": "{{ secrets.token }}"}),
    data("x" * 500, "ü😀" * 20_000, "notice"),
]


@pytest.mark.parametrize("render", ENGINES)
@pytest.mark.parametrize("note", NASTY)
def test_the_template_is_json_whatever_it_is_given(render: Render, note: dict[str, Any]) -> None:
    told = json.loads(render(TEMPLATE, note))
    expected = {key: value for key, value in note.items() if key != "secrets"} | {"template": 1}
    assert told == expected


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
texts = st.text(st.characters(codec="utf-8"), max_size=200)


@settings(max_examples=100, deadline=None)
@given(title=texts, message=texts, fields=st.dictionaries(names, texts, max_size=4))
def test_for_any_texts(title: str, message: str, fields: dict[str, str]) -> None:
    note = data(title, message) | {"fields": fields}
    for render in ENGINES:
        told = json.loads(render(TEMPLATE, note))
        assert (told["title"], told["message"], told["fields"]) == (title, message, fields)


@pytest.mark.parametrize("render", ENGINES)
def test_what_it_says_is_understood(render: Render) -> None:
    note = data("vzdump backup status (pve1.lab.example): backup failed ", "x", hostname="pve1", type="vzdump")
    verdict = classify("webhook", render(TEMPLATE, note), now=1790000100.0)
    assert (verdict.kind, verdict.severity, verdict.node, verdict.ok) == ("backup.job.failed", "error", "pve1", False)
    assert verdict.at == 1790000000


def test_people_without_a_renderer_of_json_are_warned_of() -> None:
    """The template that many recipes have, and what it makes of a notification: the reason for ours."""
    broken = with_pydantic('{"title": "{{ title }}", "message": "{{ message }}"}', NASTY[1])
    with pytest.raises(ValueError, match="Expecting|Invalid"):
        json.loads(broken)


def calls(script: str, folder: Path, url: str, token: str) -> list[list[str]]:
    """Run it with a `pvesh` that writes down how it was called."""
    stub = folder / "pvesh"
    stub.write_text(
        "#!/bin/sh\nfor one in \"$@\"; do printf '%s\\0' \"$one\"; done >> calls\nprintf '\\n\\0' >> calls\n"
    )
    stub.chmod(0o755)
    script = re.sub(r"^URL=.*", f"URL={url}", script, flags=re.MULTILINE)
    script = re.sub(r"^TOKEN=.*", f"TOKEN={token}", script, flags=re.MULTILINE)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-eu", "-c", script], cwd=folder, env=environment, check=True, timeout=20)
    found: list[list[str]] = [[]]
    for word in (folder / "calls").read_text().split("\0"):
        if word == "\n":
            found.append([])
        elif word:
            found[-1].append(word)
    return [one for one in found if one]


def params(words: list[str]) -> dict[str, Any]:
    """`--name value` pairs; one that is repeated is a list, as pvesh reads them."""
    found: dict[str, Any] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        key = name.removeprefix("--")
        found[key] = [*found.get(key, []), value] if key in ("header", "secret", "target") else value
    return found


def test_the_script_sets_the_very_template(tmp_path: Path) -> None:
    create, matcher, test = calls(SCRIPTS[0], tmp_path, "http://127.0.0.1:1/webhook", "s3cret")
    sent = params(create[2:])
    assert create[:2] == ["create", "/cluster/notifications/endpoints/webhook"]
    assert base64.b64decode(sent["body"]).decode() == TEMPLATE.rstrip("\n")
    assert [one.split(",")[0] for one in sent["header"]] == ["name=Content-Type", "name=Authorization"]
    assert base64.b64decode(sent["secret"][0].partition("value=")[2]) == b"s3cret"
    assert params(matcher[2:]) == {"name": "to-proxmox-mcp", "target": ["proxmox-mcp"]}
    assert test == ["create", "/cluster/notifications/targets/proxmox-mcp/test"]
