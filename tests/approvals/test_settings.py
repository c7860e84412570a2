"""APPROVERS and its kin: kind to read, and every mistake in one report that names the key and repeats no secret."""

from pathlib import Path

import pytest

from mqtt_bridge.approvals.proofs import key_of
from mqtt_bridge.errors import SettingsError
from mqtt_bridge.settings import load
from mqtt_bridge.settings.approving import ApprovalSettings

A, B = key_of("a"), key_of("b")


def given(**keys: str) -> ApprovalSettings:
    return load(keys, search=False, hosts=False).approval


def test_nothing_set() -> None:
    assert given() == ApprovalSettings()


def test_people_with_their_ways() -> None:
    found = given(
        APPROVERS=f"alice:sha256:{A.upper()};email=alice@example.org;discord=80351110224678912 , "
        f"bob : sha256 : {B};ntfy=bobs-own",
        NOTIFY_EMAIL_SERVER="mail.example.org",
        APPROVAL_TIMEOUT="5m",
        APPROVAL_MQTT="proof",
        APPROVAL_ELICITATION="all",
    )
    alice, bob = found.approvers
    assert (alice.name, alice.key.reveal(), alice.discord) == ("alice", A, 80351110224678912)
    assert [(name, value.reveal()) for name, value in alice.ways] == [("email", "alice@example.org")]
    assert [(name, value.reveal()) for name, value in bob.ways] == [("ntfy", "bobs-own")]
    assert (found.timeout, found.mqtt, found.elicitation) == (300, "proof", "all")
    assert A not in repr(found)
    assert found.approver("ALICE") is alice


def test_a_file_with_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "approvers"
    file.write_text(f"# people\nalice:sha256:{A}\n\nbob:sha256:{B};gotify=Atoken.of.bob\n")
    found = given(APPROVERS_FILE=str(file), GOTIFY_OUT_SERVER_URL="https://gotify.example.org")
    assert [one.name for one in found.approvers] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("keys", "key", "why"),
    [
        ({"APPROVERS": "alice:hunter2"}, "APPROVERS", "entry 1 is no approver"),
        ({"APPROVERS": f"alice:sha256:{A}, bob:md5:{B}"}, "APPROVERS", "entry 2 is no approver"),
        ({"APPROVERS": f"alice:sha256:{A}, Alice:sha256:{B}"}, "APPROVERS", "the same name"),
        ({"APPROVERS": f"alice:sha256:{A}, bob:sha256:{A}"}, "APPROVERS", "the same secret"),
        ({"APPROVERS": f"al/ice:sha256:{A}"}, "APPROVERS", "entry 1"),
        ({"APPROVERS": f"alice:sha256:{A};pager=hunter2"}, "APPROVERS", "after a ; there is discord="),
        ({"APPROVERS": f"alice:sha256:{A};discord=hunter2"}, "APPROVERS", "15 to 20 digits"),
        ({"APPROVERS": f"alice:sha256:{A};email=hunter2"}, "APPROVERS", "email= takes a mail address"),
        ({"APPROVERS": f"alice:sha256:{A};email=a@b.c"}, "NOTIFY_EMAIL_SERVER", "is missing"),
        ({"APPROVERS": f"alice:sha256:{A};gotify=Atoken.hunter2"}, "GOTIFY_OUT_SERVER_URL", "is missing"),
        ({"APPROVAL_TIMEOUT": "1s"}, "APPROVAL_TIMEOUT", "is not a time"),
        ({"APPROVAL_MQTT": "yes"}, "APPROVAL_MQTT", "is none of off, proof, broker"),
        ({"APPROVAL_ELICITATION": "http"}, "APPROVAL_ELICITATION", "is none of off, stdio, all"),
        (
            {"APPROVAL_MQTT": "broker", "APPROVERS": f"alice:sha256:{A}", "MQTT_HOST": "broker"},
            "MQTT_USERNAME",
            "tells its users apart",
        ),
        (
            {"APPROVAL_MQTT": "broker", "APPROVERS": f"alice:sha256:{A}", "MQTT_HOST": "b", "MQTT_USERNAME": "Alice"},
            "MQTT_USERNAME",
            "is an approver's name",
        ),
    ],
)  # fmt: skip
def test_every_mistake_names_its_key(keys: dict[str, str], key: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        given(**keys)
    assert any(line.startswith(key) and why in line for line in caught.value.problems), caught.value.problems
    assert "hunter2" not in str(caught.value)


def test_decisions_over_mqtt_that_nobody_can_make_are_warned_of() -> None:
    found = load({"APPROVAL_MQTT": "proof"}, search=False, hosts=False)
    assert any("APPROVERS is not set" in line for line in found.warnings)
