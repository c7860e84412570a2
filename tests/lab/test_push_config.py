"""The notification API: what is accepted, what is answered, what matchers let through."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.push.config import MATCHER, Entry, NotifyConfig
from proxmox_mcp.lab.push.matching import matches, targets
from proxmox_mcp.lab.push.model import Notification, Severity
from tests.lab.conftest import Client

PREFIX = "/cluster/notifications"
HOOK = {"name": "hook", "method": "post", "url": "http://127.0.0.1:9/{{ secrets.key }}"}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_what_is_there_from_the_start(api: Client) -> None:
    mail = {
        "name": "mail-to-root",
        "type": "sendmail",
        "origin": "builtin",
        "comment": "Send mails to root@pam's email address",
    }
    for host, prefix in (("", PREFIX), ("pbs1", "/config/notifications")):
        assert await api.get(f"{prefix}/targets", host=host) == [mail]
        assert await api.get(f"{prefix}/matchers", host=host) == [
            {
                "name": "default-matcher",
                "mode": "all",
                "target": ["mail-to-root"],
                "origin": "builtin",
                "comment": "Route all notifications to mail-to-root",
            }
        ]


async def test_a_webhook_lives(api: Client) -> None:
    path = f"{PREFIX}/endpoints/webhook"
    more: dict[str, Any] = {
        "header": f"name=A,value={b64('b')}",
        "secret": [f"name=key,value={b64('hidden')}", "name=k2,value="],
    }
    assert (await api("POST", path, **HOOK, **more)).status == 200
    found = await api.get(f"{path}/hook")
    assert found["secret"] == ["name=key", "name=k2"]
    assert (found["origin"], found["header"]) == ("user-created", [f"name=A,value={b64('b')}"])
    kept: dict[str, Any] = {"secret": ["name=key"], "delete": ["header"], "disable": 1}
    assert (await api("PUT", f"{path}/hook", digest=found["digest"], **kept)).status == 200
    assert api.lab.world.notifier.config.get("webhook", "hook").secrets == {"key": "hidden"}
    changed = await api.get(f"{path}/hook")
    assert (changed["disable"], changed["secret"], "header" in changed) == (1, ["name=key"], False)
    stale = await api("PUT", f"{path}/hook", digest=found["digest"], comment="x")
    assert stale.reason == "detected modified configuration - file changed by other user? Try again."
    assert (await api("DELETE", f"{path}/hook")).status == 200
    assert (await api("GET", f"{path}/hook")).reason == "endpoint 'hook' not found"


async def test_a_changed_builtin_goes_back(api: Client) -> None:
    path = f"{PREFIX}/matchers/default-matcher"
    assert (await api("PUT", path, comment="mine", delete="target")).status == 200
    row = await api.get(path)
    assert (row["origin"], row["comment"], "target" in row) == ("modified-builtin", "mine", False)
    assert (await api("DELETE", path)).status == 200
    row = await api.get(path)
    assert (row["origin"], row["target"]) == ("builtin", ["mail-to-root"])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "endpoints/webhook",
        HOOK | {"name": "mail-to-root"},
        "Cannot create 'mail-to-root', an entity with the same name",
    ),
    ("endpoints/webhook", HOOK | {"secret": "name=key,value=%%%"}, "secret 'key' does not have valid base64"),
    ("endpoints/webhook", HOOK | {"secret": "name=key"}, "secret 'key' not known"),
    ("endpoints/webhook", HOOK | {"header": "name=A"}, "header 'A' has empty value"),
    ("endpoints/webhook", HOOK | {"url": "http://example.com/x"}, "only sends to loopback, not to 'example.com'"),
    ("endpoints/webhook", HOOK | {"url": "http://127.0.0.1@example.com/"}, "only sends to loopback"),
    ("endpoints/webhook", HOOK | {"url": "file:///etc/passwd"}, "is no http or https URL"),
    ("endpoints/gotify", {"name": "gg", "server": "https://192.0.2.1", "token": "t"}, "not to '192.0.2.1'"),
    ("endpoints/smtp", {"name": "mm", "server": "localhost", "from-address": "a@b"}, "at least provide one recipient"),
    (
        "endpoints/smtp",
        {"name": "mm", "server": "mail.example.com", "from-address": "a@b", "mailto": "a@b"},
        "only sends to loopback",
    ),
    ("matchers", {"name": "mx", "target": "nobody"}, "could not find endpoint 'nobody'"),
    ("matchers", {"name": "mx", "match-field": "type=vzdump"}, "invalid match-field statement: type=vzdump"),
    ("matchers", {"name": "mx", "match-field": "regex:type=("}, "invalid regex"),
    ("matchers", {"name": "mx", "match-severity": "bad"}, "invalid severity bad"),
    ("matchers", {"name": "mx", "match-calendar": "noon"}, "could not parse schedule"),
]


@pytest.mark.parametrize(("path", "params", "reason"), REFUSED)
async def test_refusals(api: Client, path: str, params: dict[str, Any], reason: str) -> None:
    answer = await api("POST", f"{PREFIX}/{path}", **params)
    assert answer.status in (400, 404)
    assert reason in answer.text
    assert len(api.lab.world.notifier.config.entries) == 2


async def test_a_target_in_use_stays(api: Client) -> None:
    assert (await api("DELETE", f"{PREFIX}/endpoints/sendmail/mail-to-root")).reason == (
        "cannot delete 'mail-to-root', referenced by: default-matcher"
    )


async def test_an_auditor_may_look_only(api: Client) -> None:
    assert (await api("GET", f"{PREFIX}/endpoints/webhook", who="audit@pve!ro")).status == 200
    assert (await api("POST", f"{PREFIX}/endpoints/webhook", who="audit@pve!ro", **HOOK)).status == 403


def note(severity: Severity = "error", at: int = 1_767_603_600, **fields: str) -> Notification:
    """At 2026-01-05 09:00 UTC, a Monday."""
    return Notification("pve1", "t", "m", "", severity, at, {"type": "vzdump", "hostname": "pve1"} | fields)


MATCHES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"invert-match": 1}, True),
    ({"match-severity": ["warning,error"]}, True),
    ({"match-severity": ["info"]}, False),
    ({"match-severity": ["info"], "invert-match": 1}, True),
    ({"match-severity": ["error"], "invert-match": 1}, False),
    ({"match-field": ["exact:type=vzdump, replication"]}, True),
    ({"match-field": ["exact:type=vz"]}, False),
    ({"match-field": ["regex:type=vz"]}, True),
    ({"match-field": ["regex:hostname=^pve[23]$"]}, False),
    ({"match-field": ["regex:job-id=.*"]}, False),
    ({"match-field": ["exact:type=vzdump", "exact:hostname=pve2"]}, False),
    ({"match-field": ["exact:type=vzdump", "exact:hostname=pve2"], "mode": "any"}, True),
    ({"match-severity": ["info"], "match-field": ["exact:type=vzdump"]}, False),
    ({"match-severity": ["info"], "match-field": ["exact:type=vzdump"], "mode": "any"}, True),
    ({"match-calendar": ["mon..fri 8-17:30"]}, True),
    ({"match-calendar": ["9:00-9:01"]}, True),
    ({"match-calendar": ["sat,sun 0-24"]}, False),
    ({"match-calendar": ["mon 8-9"]}, False),
]


@pytest.mark.parametrize(("rules", "expected"), MATCHES)
def test_matching(rules: dict[str, Any], expected: bool) -> None:
    assert matches(Entry(MATCHER, {"name": "m"} | rules), note()) is expected


def test_each_target_is_named_once() -> None:
    config = NotifyConfig()
    config.add("webhook", {"name": "hook", "method": "post", "url": "http://localhost/"})
    config.add(MATCHER, {"name": "m1", "target": ["hook", "mail-to-root"]})
    config.add(MATCHER, {"name": "m2", "target": ["hook"], "disable": 1, "match-severity": ["error"]})
    assert targets(config, note()) == ["mail-to-root", "hook"]
    with pytest.raises(ApiError, match="could not find endpoint 'm1'"):
        config.update(MATCHER, {"name": "m2", "target": ["m1"]})
