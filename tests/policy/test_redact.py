"""Secrets become stars, the rest stays readable."""

import json
from typing import Any

import pytest

from mqtt_bridge.redact import is_secret, redact, redact_text, redact_url
from mqtt_bridge.secret import STARS, Secret

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "key",
    ["password", "cipassword", "CIPassword", "new_password", "token", "token-value", "MQTT_PASSWORD", "auth_token",
     "ticket", "CSRFPreventionToken", "secret", "api-key", "private_key", "Authorization", "input-data", "otp"],
)  # fmt: skip
def test_secret_keys(key: str) -> None:
    assert is_secret(key)
    assert redact({"x": [{key: SECRET}]}) == {"x": [{key: STARS}]}


@pytest.mark.parametrize("key", ["vmid", "vms", "command", "sshkeys", "name", "timeout", "tags", "digest", "keyboard"])
def test_other_keys_stay(key: str) -> None:
    assert not is_secret(key)
    assert redact({key: "reboot"}) == {key: "reboot"}


def test_everything_becomes_json() -> None:
    value = {"a": Secret(SECRET), 1: (True, None, 2.5), "s": frozenset({2, 1}), "o": ValueError(f"password={SECRET}")}
    text = json.dumps(redact(value))
    assert SECRET not in text
    assert json.loads(text) == {"a": STARS, "1": [True, None, 2.5], "s": [1, 2], "o": f"password={STARS}"}


def test_further_keys_can_be_hidden() -> None:
    assert redact({"command": ["cat", "/etc/shadow"]}, extra=frozenset({"command"})) == {"command": STARS}


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: PVEAPIToken=root@pam!mcp={SECRET}",
        f"PBSAPIToken=root@pam!mcp:{SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"mount -o username=x,password={SECRET},vers=3",
        f"secret: {SECRET}",
        f"fetching https://user:{SECRET}@example.org/iso",
        f"fetching https://example.org/iso?sig={SECRET}&x={SECRET}#{SECRET}",
        f"PVE:root@pam:6B00E880::{SECRET}",
    ],
)
def test_free_text_is_scrubbed(text: str) -> None:
    assert SECRET not in redact_text(text)
    assert STARS in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "TASK ERROR: VM is locked (backup)",
        "UPID:pve1:0000020F:00079C64:6B00E882:qmstart:100:root@pam!full:",
        "INFO: starting new backup job: vzdump 131 --mode stop --node pve1",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://pve:8006/api2/json?type=vm", f"https://pve:8006/api2/json?type={STARS}"),
        ("mqtt://u:p@[::1]:1883", f"mqtt://{STARS}@[::1]:1883"),
        ("https://host/path", "https://host/path"),
        ("https://[broken", STARS),
    ],
)
def test_urls(url: str, shown: Any) -> None:
    assert redact_url(url) == shown
