"""The chain: what is written, and that every way of tampering shows, with the line."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mqtt_bridge.audit.trail import FILE, HEAD, MAX_LINE, Audit, AuditError, canonical, digest
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.secret import STARS, Secret

Lines = list[bytes]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path / "state")


def written(audit: Audit, count: int) -> Audit:
    for number in range(count):
        audit.append("action.intent", number=number)
    return audit


def problems(audit: Audit) -> list[tuple[int, str]]:
    return [(problem.line, problem.text) for problem in verify(audit.path).problems]


def tamper(audit: Audit, change: Callable[[Lines], Lines]) -> None:
    audit.path.write_bytes(b"".join(change(audit.path.read_bytes().splitlines(keepends=True))))


def edited(line: bytes, *, rehash: bool = False) -> bytes:
    record = json.loads(line)
    record["number"] = 999
    if rehash:
        record["hash"] = digest(record)
    return canonical(record) + b"\n"


def test_a_file_that_was_never_written_is_fine(audit: Audit) -> None:
    report = verify(audit.path)
    assert report.ok
    assert report.records == 0


def test_records_chain(audit: Audit) -> None:
    written(audit, 3)
    records = [json.loads(line) for line in audit.path.read_bytes().splitlines()]
    assert [r["seq"] for r in records] == [1, 2, 3]
    assert records[0]["prev"] == "0" * 64
    assert [r["prev"] for r in records[1:]] == [r["hash"] for r in records[:2]]
    report = verify(audit.path)
    assert report.ok
    assert (report.records, report.first, report.last) == (3, records[0]["time"], records[2]["time"])


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_the_owner_may_read_it(audit: Audit) -> None:
    written(audit, 1)
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(audit.path.with_name(HEAD).stat().st_mode) == 0o600
    assert stat.S_IMODE(audit.path.parent.stat().st_mode) == 0o700


def test_secrets_never_reach_it(audit: Audit) -> None:
    audit.append("x", params={"cipassword": "hunter2"}, token=Secret("hunter2"), note="https://u:hunter2@h/?k=hunter2")
    text = audit.path.read_text()
    assert "hunter2" not in text
    assert STARS in text


@pytest.mark.parametrize("index", range(5))
def test_a_changed_line_is_named(audit: Audit, index: int) -> None:
    written(audit, 5)
    tamper(audit, lambda lines: [*lines[:index], edited(lines[index]), *lines[index + 1 :]])
    assert problems(audit) == [(index + 1, f"record {index + 1} was changed")]


@pytest.mark.parametrize("index", range(4))
def test_a_changed_line_with_a_hash_of_its_own_breaks_the_next(audit: Audit, index: int) -> None:
    written(audit, 5)
    tamper(audit, lambda lines: [*lines[:index], edited(lines[index], rehash=True), *lines[index + 1 :]])
    [(line, text)] = problems(audit)
    assert line == index + 2
    assert "replaced" in text


def test_the_last_line_with_a_hash_of_its_own_is_not_the_head_s(audit: Audit) -> None:
    written(audit, 3)
    tamper(audit, lambda lines: [*lines[:2], edited(lines[2], rehash=True)])
    [(_, text)] = problems(audit)
    assert HEAD in text


@pytest.mark.parametrize(
    ("change", "line", "text"),
    [
        (lambda lines: lines[1:], 1, "record 1 is missing"),
        (lambda lines: [*lines[:1], *lines[3:]], 2, "records 2 to 3 are missing"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3, "inserted or moved"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2, "missing"),
        (lambda lines: lines[:3], 4, "records 4 to 5 were cut off the end"),
        (lambda _: [], 1, "records 1 to 5 were cut off the end"),
        (lambda lines: [*lines[:2], b"\n", *lines[2:]], 3, "not a whole record"),
        (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], 3, "not a whole record"),
        (lambda lines: [*lines[:4], lines[4][:-1]], 5, "not a whole record"),
        (lambda lines: [*lines[:2], lines[2].replace(b'{"', b'{ "', 1), *lines[3:]], 3, "changed"),
        (lambda lines: [*lines[:2], lines[2].replace(b'{"', b'{"number":7,"', 1), *lines[3:]], 3, "changed"),
    ],
)
def test_removed_inserted_moved_and_cut_lines(
    audit: Audit, change: Callable[[Lines], Lines], line: int, text: str
) -> None:
    written(audit, 5)
    tamper(audit, change)
    found = problems(audit)
    assert found
    assert found[0][0] == line
    assert text in found[0][1]


def test_the_whole_file_removed_shows_by_its_head(audit: Audit) -> None:
    written(audit, 3)
    audit.path.unlink()
    assert "records 1 to 3 were cut off" in problems(audit)[0][1]


def test_without_its_head_an_end_cannot_be_vouched_for(audit: Audit) -> None:
    written(audit, 3)
    audit.path.with_name(HEAD).unlink()
    assert "cannot be told" in problems(audit)[0][1]


def test_writing_on_after_a_cut_does_not_heal_it(audit: Audit) -> None:
    written(audit, 5)
    tamper(audit, lambda lines: lines[:3])
    written(audit, 1)
    assert problems(audit) == [(4, "records 4 to 5 are missing before it")]


def test_a_crash_between_record_and_head_is_no_gap(audit: Audit) -> None:
    written(audit, 2)
    head = audit.path.with_name(HEAD).read_bytes()
    written(audit, 1)
    audit.path.with_name(HEAD).write_bytes(head)
    assert problems(audit) == []
    written(audit, 1)
    assert problems(audit) == []
    assert verify(audit.path).records == 4


def test_a_torn_line_is_kept_and_shown_and_the_chain_goes_on(audit: Audit) -> None:
    written(audit, 2)
    with audit.path.open("ab") as file:
        file.write(b'{"event":"action.int')
    written(audit, 2)
    assert problems(audit) == [(3, "is not a whole record: torn by a crash, damaged or foreign")]
    assert verify(audit.path).records == 4


def test_a_damaged_head_does_not_stop_the_chain(audit: Audit) -> None:
    written(audit, 2)
    audit.path.with_name(HEAD).write_bytes(b"{")
    written(audit, 1)
    assert problems(audit) == []


def test_a_file_longer_than_a_block_chains_on(audit: Audit) -> None:
    for number in range(6):
        audit.append("x", number=number, filler="y" * (MAX_LINE // 2))
    assert verify(audit.path).ok
    assert verify(audit.path).records == 6


def test_a_record_that_is_too_long_is_refused(audit: Audit) -> None:
    written(audit, 1)
    with pytest.raises(AuditError, match="bytes long"):
        audit.append("x", filler="y" * MAX_LINE)
    assert verify(audit.path).ok


def test_a_folder_in_its_place_is_an_error_with_a_cure(audit: Audit) -> None:
    audit.path.mkdir(parents=True)
    with pytest.raises(AuditError) as caught:
        audit.append("x")
    assert FILE in caught.value.message
    assert caught.value.cure


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_symbolic_link_is_not_followed(audit: Audit, tmp_path: Path) -> None:
    audit.path.parent.mkdir()
    audit.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError):
        audit.append("x")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_an_error(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    written(audit, 2)
    before = audit.path.read_bytes()
    write = os.write

    def full_after_ten_bytes(file: int, data: bytes) -> int:
        if len(data) <= 10:
            raise OSError(28, "No space left on device")
        return write(file, data[:10])

    monkeypatch.setattr("mqtt_bridge.audit.trail.os.write", lambda file, data: full_after_ten_bytes(file, data[:20]))
    with pytest.raises(AuditError, match="No space left"):
        audit.append("x")
    monkeypatch.undo()
    assert audit.path.read_bytes() == before
    written(audit, 1)
    assert verify(audit.path).ok
