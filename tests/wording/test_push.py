"""Bodies as Gotify, ntfy, chats and people's own templates shape them."""

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.wording.loose_json import members, nested, parsed
from mqtt_bridge.wording.push import read_push
from mqtt_bridge.wording.verdict import Verdict

TITLE = "vzdump backup status (pve1.lan): backup failed"
MESSAGE = 'Details\n=======\nVMID    Name    Status    Time\n101     a       err       3s\n\nLogs: "C:\\dump" – é'
BODIES: dict[str, Any] = {
    "plain template": {"title": TITLE, "message": MESSAGE, "severity": "error"},
    "Discord": {"content": f"**{TITLE}**\n```\n{MESSAGE}\n```"},
    "Discord embed": {"embeds": [{"title": TITLE, "description": MESSAGE}]},
    "Slack": {"text": f"*{TITLE}*\n```{MESSAGE}```"},
    "Slack blocks": {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": f"{TITLE}\n{MESSAGE}"}}]},
    "Teams": {"sections": [{"activityTitle": TITLE, "text": f"<pre>{MESSAGE}</pre>"}]},
    "Telegram HTML": {"text": f"<b>{TITLE}</b>\n<pre>{MESSAGE}</pre>", "parse_mode": "HTML"},
    "Telegram MarkdownV2": {"text": r"vzdump backup status \(pve1\.lan\): backup failed" + f"\n{MESSAGE}"},
    "Matrix": {"msgtype": "m.text", "body": f"{TITLE}\n{MESSAGE}"},
    "Gotify stream": {"id": 3, "appid": 1, "title": TITLE, "message": f"```\n{MESSAGE}\n```", "priority": 9},
    "url-encode helper": {"title": TITLE, "message": quote(MESSAGE)},
    "base64": {"title": TITLE, "message": base64.b64encode(MESSAGE.encode()).decode()},
    "JSON in a string": {"value": json.dumps({"title": TITLE, "message": MESSAGE})},
    "Zabbix": {"params": [{"host": "hostname", "value": json.dumps([{"title": TITLE, "message": quote(MESSAGE)}])}]},
    "name and value": {"fields": [{"name": "Title", "value": TITLE}, {"name": "Message", "value": MESSAGE}]},
}  # fmt: skip


def is_the_failure(verdict: Verdict) -> bool:
    return (verdict.kind, verdict.node, verdict.guest, verdict.ok) == ("backup.job.failed", "pve1", 101, False)


@pytest.mark.parametrize("name", BODIES)
def test_shapes(name: str) -> None:
    verdict = read_push(json.dumps(BODIES[name]))
    assert is_the_failure(verdict), verdict
    assert is_the_failure(read_push(json.dumps(BODIES[name], indent=2, ensure_ascii=False).encode()))


@pytest.mark.parametrize(
    "body",
    [
        f"{TITLE}\n{MESSAGE}",
        f"# {TITLE}\n\n```\n{MESSAGE}\n```",
        f'{{"title": "{TITLE}", "message": "{MESSAGE}", "severity": "error"}}',  # no escape: raw newlines and quotes
        f'{{\n  \'x\': 1,\n  "title": "{TITLE}",\n  "message": "{MESSAGE}"\n}}\n',
        json.dumps({"title": TITLE, "message": MESSAGE})[:-30],  # cut
        "\ufeff" + json.dumps({"title": TITLE, "message": MESSAGE}),
        urlencode({"title": TITLE, "message": MESSAGE}),
        urlencode({"payload": json.dumps({"text": f"{TITLE}\n{MESSAGE}"})}),
        quote(f"{TITLE}\n{MESSAGE}"),
        base64.b64encode(f"{TITLE}\n{MESSAGE}".encode()).decode(),
        f"<html><body><h1>{TITLE}</h1><pre>{MESSAGE}</pre></body></html>",
    ],
)
def test_bodies_that_are_no_json_or_broken(body: str) -> None:
    assert is_the_failure(read_push(body)), read_push(body)


def test_utf16_without_a_mark() -> None:
    assert is_the_failure(read_push(json.dumps({"title": TITLE, "message": MESSAGE}).encode("utf-16-le")))


@pytest.mark.parametrize(
    ("body", "severity"),
    [
        ({"title": "x", "message": "all good", "severity": "error"}, "error"),
        ({"title": "x", "message": "all good", "severity": "notice"}, "warning"),
        ({"title": "x", "message": "disk failed", "severity": "unknown"}, "error"),
        ({"title": "x", "message": "all good", "priority": 9}, "error"),
        ({"title": "x", "message": "all good", "priority": 3}, "info"),
        ({"title": "x", "message": "no errors, 0 failed"}, "info"),
        ({"title": "x", "message": "warning: low battery"}, "warning"),
        ({"alerts": [{"labels": {"severity": "critical"}, "annotations": {"summary": "x"}}]}, "critical"),
    ],
)
def test_severity_of_what_no_rule_knows(body: dict[str, Any], severity: str) -> None:
    verdict = read_push(json.dumps(body))
    assert (verdict.kind, verdict.severity) == ("system.mail", severity)


@pytest.mark.parametrize(
    ("body", "node"),
    [
        ({"fields": {"hostname": "pve9.example.org"}, "message": "x"}, "pve9"),
        ({"hostname": "hostname", "node": "pve9", "message": "x"}, "pve9"),
        ({"host": "10.0.0.1", "message": "x"}, None),
        ({"source": "proxmox", "message": "x"}, None),
        ({"instance": "pve9:9100", "message": "x"}, "pve9"),
        ({"node": "a b", "message": "x"}, None),
    ],
)
def test_node_of_the_fields(body: dict[str, Any], node: str | None) -> None:
    assert read_push(json.dumps(body)).node == node


def test_fields_alone_and_time() -> None:
    verdict = read_push('{"type":"gc","severity":"error","hostname":"pbs.x","timestamp":1736820000,"datastore":"tank"}')
    assert (verdict.kind, verdict.node, verdict.ok, verdict.at) == ("gc.failed", "pbs", False, 1736820000)
    assert verdict.fields == {"type": "gc", "hostname": "pbs", "datastore": "tank"}
    assert read_push('{"message":"x","timestamp":1736820000123}').at == 1736820000.123
    assert read_push('{"message":"x","date":"2025-01-14T03:00:00.123456789+01:00"}').at == 1736820000.123456
    assert read_push('{"message":"x","timestamp":1e999}').at is None


def test_what_a_string_holds() -> None:
    assert nested("50% of 100%") == "50% of 100%"
    assert nested("dGhpcyBpcyBub3QgbG9uZw==") == "dGhpcyBpcyBub3QgbG9uZw=="  # as short as any word may be
    assert nested("[INFO] not JSON") == "[INFO] not JSON"
    assert parsed("just text") is None
    assert parsed("a=b") is None
    assert dict(members({"a": {"b": [1, {"c": "x"}]}})) == {"b": 1, "c": "x"}


_KEYS = st.sampled_from(["title", "message", "fields", "name", "value", "priority", "timestamp", "host"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.sampled_from([TITLE, MESSAGE]),
    lambda inner: st.lists(inner, max_size=5)
    | st.dictionaries(_KEYS, inner),
    max_leaves=30,
)  # fmt: skip


@settings(deadline=2000)
@given(_JSON, st.integers(min_value=0, max_value=3000))
def test_any_json_whole_or_cut(data: Any, cut: int) -> None:
    assert read_push(json.dumps(data)).kind
    assert read_push(json.dumps(data)[:cut]).kind


@settings(deadline=2000)
@given(st.text(alphabet='{}[]",:\\ntile%=&<b>u0d8 \n', max_size=400) | st.binary(max_size=400))
def test_any_text(raw: str | bytes) -> None:
    assert read_push(raw).kind
