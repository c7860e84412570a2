"""What admins write into webhook bodies, rendered as Proxmox does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from proxmox_mcp.lab.push.handlebars import TemplateError, render

DATA: dict[str, Any] = {
    "title": "T",
    "message": 'a "b"\nc',
    "severity": "error",
    "timestamp": 5,
    "fields": {"type": "vzdump", "job-id": "x", "hostname": "h w/ü"},
    "secrets": {"t": "s3"},
}
TEMPLATES: list[tuple[str, str]] = [
    ('{"content": "``` {{ escape message }}```"}', json.dumps({"content": '``` a "b"\nc```'})),
    ('{"f":{{ json fields }}}', '{"f":{"hostname":"h w/ü","job-id":"x","type":"vzdump"}}'),
    ("{{ json fields.type }} {{ json timestamp }} {{ json message }}", '"vzdump" 5 "a \\"b\\"\\nc"'),
    ("{{url-encode fields.hostname}}", "h%20w%2F%C3%BC"),
    ("{{ fields.job-id }} {{fields.[job-id]}} {{lookup fields 'job-id'}} {{secrets.t}}", "x x x s3"),
    ("<{{ nothing }}{{fields.nothing}}>{{message}}", '<>a "b"\nc'),
    ("{{#if fields.job-id}}J{{else}}-{{/if}}{{#if fields.no}}J{{else}}-{{/if}}", "J-"),
    ('{{#if (eq severity "error")}}E{{/if}}{{#unless (or title nothing)}}never{{/unless}}', "E"),
    ("a\n  {{#each fields}}\n  {{@key}}={{this}}{{#unless @last}},{{/unless}}\n  {{/each}}\nb",
     "a\n  hostname=h w/ü,\n  job-id=x,\n  type=vzdump\nb"),
    ("{{! c }}x{{!-- a }} b --}}y {{~ timestamp ~}}  z {{{title}}}", "xy5z T"),
    ("{{#with fields}}{{type}} {{../title}}{{/with}}", "vzdump T"),
    ("{{fields}}", "[object]"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "expected"), TEMPLATES)
def test_templates(template: str, expected: str) -> None:
    assert render(template, DATA) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{#if x}}", "'if' is not closed"),
        ("{{/if}}", "unexpected '/if'"),
        ("{{#if x}}{{/each}}", "does not match"),
        ("{{ unknown title }}", "Helper not defined: 'unknown'"),
        ("{{ escape timestamp }}", "escape: missing text parameter"),
        ("{{ (eq title }}", "'(' is not closed"),
    ],
)
def test_broken_templates(template: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(reason)):
        render(template, DATA)
