"""`mqtt-bridge classify`: what the rules make of a text. Needs no settings, no broker and no Proxmox."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import IO, Any, cast

from mqtt_bridge.model import utc
from mqtt_bridge.wording import CHANNELS, Verdict, classify, guess_channel

LINE_LIMIT = 64 * 1024 * 1024
PEEK_LINES = 20

EPILOG = """\
With TEXT, or with a text on standard input, the verdict on that text is printed: for people on a
terminal, as one line of JSON with --json or when the output is piped.

Standard input may also be a stream of JSON lines {"id": …, "channel": …, "raw": …}. Each is answered
at once by one line {"id", "kind", "severity", "node", "guest", "ok", "title"}; a line that cannot be
read is answered by {"id", "error"}, the others go on, and the exit status is 1 at the end.

examples:
  mqtt-bridge classify "Jan 08 16:37:47 pve zed[9866]: eid=12 class=checksum pool='rpool'"
  mqtt-bridge classify --channel email < message.eml
  journalctl -n 1 -o short | mqtt-bridge classify --channel syslog --json
  mqtt-bridge classify < samples.jsonl
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The subcommand `classify`."""
    parser = commands.add_parser(
        "classify",
        help="show what the rules make of a text",
        description="Show which event a mail, log line, notification or task becomes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--channel", choices=CHANNELS, metavar="CHANNEL", help=f"{', '.join(CHANNELS)}; without it a guess by the text"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON, on a terminal too")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="without it standard input is read")


def main(arguments: argparse.Namespace) -> int:
    """1 if a line of a stream could not be read."""
    try:
        if arguments.text is not None:
            return _show(arguments.text, arguments)
        return _standard_input(sys.stdin.buffer, arguments)
    except BrokenPipeError:
        sys.stderr.close()  # or Python complains about the standard output that it cannot flush
        return 1


def _standard_input(source: IO[bytes], arguments: argparse.Namespace) -> int:
    """A stream as soon as one of the first lines is a record; everything as one text otherwise."""
    head: list[bytes] = []
    for line in _lines(source):
        head.append(line)
        if _is_record(line):
            return _stream(chain(head, _lines(source)), arguments.channel)
        if len(head) >= PEEK_LINES:
            break
    return _show(b"".join(head) + source.read(LINE_LIMIT), arguments)


def _lines(source: IO[bytes]) -> Iterator[bytes]:
    while line := source.readline(LINE_LIMIT):
        yield line


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "raw" in record


def _stream(lines: Iterator[bytes], channel: str | None) -> int:
    status = 0
    for line in lines:
        if not line.strip():
            continue
        answer = _answer(line, channel)
        status = 1 if "error" in answer else status
        _print(answer)
    return status


def _answer(line: bytes, channel: str | None) -> dict[str, Any]:
    """The line of answer to one line of a stream."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"id": None, "error": f"not a line of JSON: {str(error)[:200]}"}
    if not isinstance(record, dict):
        return {"id": None, "error": "a JSON object with id, channel and raw is needed"}
    name, raw = channel or record.get("channel"), record.get("raw")
    if not isinstance(raw, str):
        return {"id": record.get("id"), "error": "raw is missing or is no text"}
    if name is not None and name not in CHANNELS:
        return {"id": record.get("id"), "error": f"channel is none of {', '.join(CHANNELS)}"}
    verdict = classify(name or guess_channel(raw), raw)
    keys = ("kind", "severity", "node", "guest", "ok", "title")
    return {"id": record.get("id"), **{key: getattr(verdict, key) for key in keys}}


def _show(raw: str | bytes, arguments: argparse.Namespace) -> int:
    channel = cast("str", arguments.channel or guess_channel(raw))
    verdict = classify(channel, raw)
    if arguments.json or not sys.stdout.isatty():
        _print({"channel": channel, **asdict(verdict)})
    else:
        sys.stdout.write(_for_people(channel, verdict) + "\n")
    return 0


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _for_people(channel: str, verdict: Verdict) -> str:
    ok = {True: "yes", False: "no", None: "-"}
    rows = {
        "channel": channel,
        "kind": verdict.kind,
        "severity": verdict.severity,
        "node": verdict.node or "-",
        "guest": verdict.guest or "-",
        "ok": ok[verdict.ok],
        "time": utc(verdict.at) or "-",
        "title": verdict.title or "-",
        "guests": ", ".join(f"{vmid} {ok[outcome]}" for vmid, outcome in verdict.guests),
        "job": verdict.job,
        "task": verdict.upid,
        **verdict.fields,
    }
    table = "\n".join(f"{name:<10} {value}" for name, value in rows.items() if value not in (None, ""))
    return f"{table}\n\n{verdict.message}".rstrip()
