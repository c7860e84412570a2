"""`mqtt-bridge classify` as it is used in a shell: no settings, any standard input."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "mqtt_bridge", "classify"]
TEST = "Subject: Test notification\n\nThis is a test of the notification target 'mail-to-root'.\n"
KEYS = ["id", "kind", "severity", "node", "guest", "ok", "title"]


def run(tmp_path: Path, *arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    given = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=given,
        capture_output=True,
        cwd=tmp_path,
        env=surroundings(),
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def surroundings() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "MQTT_PORT": "no number at all"}


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_stream_answers_each_line(tmp_path: Path) -> None:
    stream = [json.dumps({"id": n, "channel": "email", "raw": TEST}) for n in ("a", 2)]
    done = run(tmp_path, stdin="\n".join([*stream, "", ""]))
    assert (done.returncode, done.stderr) == (0, "")
    assert [list(line) for line in lines(done)] == [KEYS, KEYS]
    assert lines(done)[1] == {
        "id": 2, "kind": "notification.test", "severity": "info", "node": None, "guest": None, "ok": None,
        "title": "Test notification",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("no JSON", None),
        ('{"id": 7, "channel": "email"', None),
        ("[1]", None),
        ('{"id": 7, "channel": "email"}', 7),
        ('{"id": 7, "channel": "email", "raw": 5}', 7),
        ('{"id": 7, "channel": "fax", "raw": "x"}', 7),
        ("[" * 100_000, None),
        ("\udcff", None),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_cannot_be_read_stops_nothing(tmp_path: Path, line: str, name: int | None, first: bool) -> None:
    good = json.dumps({"id": "good", "channel": "email", "raw": TEST})
    stream = [line, good] if first else [good, line]
    done = run(tmp_path, stdin="\n".join([*stream, ""]).encode("utf-8", "surrogateescape"))
    answers = lines(done)
    bad, fine = answers if first else reversed(answers)
    assert done.returncode == 1
    assert list(bad) == ["id", "error"]
    assert bad["id"] == name
    assert fine["kind"] == "notification.test"


def test_each_answer_is_flushed_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=surroundings()
    ) as child:
        assert child.stdin
        assert child.stdout
        for number in range(3):
            child.stdin.write(json.dumps({"id": number, "channel": "email", "raw": TEST}).encode() + b"\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["id"] == number
        child.stdin.close()
        assert child.wait(30) == 0


def test_a_mail_piped_in(tmp_path: Path) -> None:
    mail = "Subject: Replication Job: '100-0' failed\nContent-Type: text/plain; charset=latin-1\n\nMüller\n"
    done = run(tmp_path, stdin=mail.encode("latin-1"))
    (answer,) = lines(done)
    assert (answer["channel"], answer["kind"], answer["guest"]) == ("email", "replication.failed", 100)
    assert answer["message"] == "Müller"


def test_a_text_as_argument_and_a_webhook_of_several_lines(tmp_path: Path) -> None:
    (answer,) = lines(run(tmp_path, "--channel", "email", TEST))
    assert answer["kind"] == "notification.test"
    body = json.dumps({"title": "Verify Datastore 'a' failed", "message": "x"}, indent=2)
    (answer,) = lines(run(tmp_path, stdin=body))
    assert (answer["channel"], answer["kind"]) == ("webhook", "verify.failed")


def test_on_a_terminal_it_is_for_people(tmp_path: Path) -> None:
    shown = on_a_terminal(tmp_path, "--channel", "email", TEST)
    assert "kind       notification.test\n" in shown
    assert "{" not in shown
    (answer,) = [json.loads(line) for line in on_a_terminal(tmp_path, "--json", TEST).splitlines()]
    assert answer["kind"] == "notification.test"


def on_a_terminal(tmp_path: Path, *arguments: str) -> str:
    leader, follower = pty.openpty()
    try:
        subprocess.run(
            [*COMMAND, *arguments], stdout=follower, cwd=tmp_path, env=surroundings(), timeout=60, check=True
        )
        return os.read(leader, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(leader)
        os.close(follower)


def test_help_has_examples(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help").stdout
    assert "examples:" in shown
    assert "mqtt-bridge classify < samples.jsonl" in shown
