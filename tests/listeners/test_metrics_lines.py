"""The line protocol, and what of it becomes a figure."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.listeners.line_protocol import MAX_LINE, Point, Value, parse
from mqtt_bridge.listeners.metrics_figures import Figures, target, wanted
from mqtt_bridge.model import GuestMetrics, NodeMetrics

SAMPLES = Path(__file__).parents[1] / "wording" / "data" / "samples.jsonl"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m f=1", Point("m", {}, {"f": 1}, None)),
        ("m,a=b f=1 5", Point("m", {"a": "b"}, {"f": 1}, 5)),
        ("  m,a=b  f=1  5  ", Point("m", {"a": "b"}, {"f": 1}, 5)),
        ("m f=1i,g=-2i,h=3u", Point("m", {}, {"f": 1, "g": -2, "h": 3}, None)),
        ("m f=.5,g=1e3,h=-1.25E-2,i=7.", Point("m", {}, {"f": 0.5, "g": 1000.0, "h": -0.0125, "i": 7.0}, None)),
        ("m f=t,g=False,h=TRUE", Point("m", {}, {"f": True, "g": False, "h": True}, None)),
        ('m f="a b,c=d",g="say \\"hi\\"",h=""', Point("m", {}, {"f": "a b,c=d", "g": 'say "hi"', "h": ""}, None)),
        ('m f="C:\\temp\\\\"', Point("m", {}, {"f": "C:\\temp\\"}, None)),
        (r"m\ m\,m,a\ b=c\=d\,e f\ g=1", Point("m m,m", {"a b": "c=d,e"}, {"f g": 1}, None)),
        ("m,a= f=1", Point("m", {"a": ""}, {"f": 1}, None)),
        ("m f=nan,g=1", Point("m", {}, {"g": 1}, None)),
        ("m f=1e999,g=1_000,h=0x10,i=١,j=2", Point("m", {}, {"j": 2}, None)),
        ("m,t=ü f=1 -5", Point("m", {"t": "ü"}, {"f": 1}, -5)),
    ],
)
def test_points(line: str, expected: Point) -> None:
    assert parse(line.encode()) == expected


@pytest.mark.parametrize(
    "line",
    ["", " ", "m", "m ", "m f", "m f=", "m f=1,", "m f=1 x", "m f=1 5 6", 'm f="', 'm f="a\\"', "m,a f=1", ",a=b f=1",
     "m f=nan", "# comment", "m f=1 12345678901234567890", "m,a=b", "m =1", "\\"],
)  # fmt: skip
def test_what_is_no_point(line: str) -> None:
    assert parse(line.encode()) is None


def test_a_line_that_is_too_long() -> None:
    assert parse(b"m f=1," + b"g=2," * MAX_LINE + b"h=3") is None


@pytest.mark.parametrize("piece", [b"\\", b"=", b",", b'"', b" ", b"a=", b'a="', b"1", b"a\\ ", b",a=b", b"\xff"])
def test_no_line_takes_for_ever(piece: bytes) -> None:
    began = time.process_time()
    for head in (b"", b"m ", b"m,a=b ", b'm f="'):
        parse((head + piece * MAX_LINE)[:MAX_LINE])
    assert time.process_time() - began < 5


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_anything(line: bytes) -> None:
    wanted(line)
    if point := parse(line):
        target(point)


NAMES = st.text(st.characters(exclude_characters="\n\r\\", exclude_categories=["Cs"]), min_size=1, max_size=10)
VALUES = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(-1e15, 1e15, allow_nan=False), NAMES
)  # fmt: skip


def written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    return repr(value) if isinstance(value, float) else '"' + value.replace('"', '\\"') + '"'


def escaped(text: str, specials: str) -> str:
    return "".join(f"\\{char}" if char in specials else char for char in text)


@settings(max_examples=300, deadline=None)
@given(
    NAMES.filter(lambda n: not n[0].isspace()), st.dictionaries(NAMES, NAMES, max_size=4),
    st.dictionaries(NAMES, VALUES, min_size=1, max_size=6), st.integers(0, 2**62),
)  # fmt: skip
def test_what_is_written_is_read(name: str, tags: dict[str, str], fields: dict[str, Value], at: int) -> None:
    special = ",= \t"
    told = "".join(f",{escaped(k, special)}={escaped(v, special)}" for k, v in tags.items())
    values = ",".join(f"{escaped(k, special)}={written(v)}" for k, v in fields.items())
    assert parse(f"{escaped(name, special)}{told} {values} {at}".encode()) == Point(name, tags, fields, at)


def test_the_samples() -> None:
    """Real captures: each line is a point, and gives what is expected of it."""
    rows = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    influx = [row for row in rows if row["channel"] == "influx"]
    assert influx
    for row in influx:
        lines = row["raw"].encode().splitlines()
        points = [parse(line) for line in lines]
        assert all(points)
        found = {target(point) for line, point in zip(lines, points, strict=True) if point and wanted(line)} - {None}
        expected = row["expected"]
        if expected["kind"] == "metrics.storage":
            assert found == set()
        else:
            assert found == {(expected["node"], expected["guest"])}


def guest(at: float = 0, vmid: int = 101, node: str = "pve1", kind: str = "qemu", **more: str) -> Point:
    values = {"cpu": "0.25", "mem": "512", "maxmem": "1024", "disk": "5", "maxdisk": "10", "uptime": "100"} | more
    told = ",".join(f"{name}={value}" for name, value in values.items())
    point = parse(f"system,object={kind},vmid={vmid},nodename={node},host=web {told} {at * 1e9:.0f}".encode())
    assert point
    return point


def after(figures: Figures, *points: tuple[float, Point]) -> GuestMetrics:
    for at, point in points:
        figures.guest("lab", 101, point, at)
    return figures.taken()["lab"][1][101]


def test_a_guest() -> None:
    found = after(Figures(), (time.time(), guest()))
    assert found.model_dump(exclude={"sampled_at"}) == {
        "cpu_percent": 25.0, "mem": 512, "maxmem": 1024, "mem_percent": 50.0, "disk": None, "maxdisk": 10,
        "disk_percent": None, "netin_rate": None, "netout_rate": None, "diskread_rate": None, "diskwrite_rate": None,
        "uptime": 100,
    }  # fmt: skip
    container = after(Figures(), (time.time(), guest(kind="lxc")))
    assert (container.disk, container.disk_percent) == (5, 50.0)


def test_rates_need_two_samples_of_one_clock() -> None:
    figures, now = Figures(), time.time()
    first, second = guest(netin="1000", netout="0"), guest(netin="3000", netout="500")
    assert after(figures, (now, first)).netin_rate is None
    found = after(figures, (now + 10, second))
    assert (found.netin_rate, found.netout_rate, found.diskread_rate) == (200.0, 50.0, None)
    assert after(figures, (now + 10, second)).netin_rate == 200.0, "sent again"
    assert after(figures, (now + 20, first)).netin_rate is None, "the counter began anew"
    assert after(figures, (now + 30, guest(netin="2000", netout="0"))).netin_rate == 100.0
    assert after(figures, (now + 40, guest(netin="9000", node="pve2"))).netin_rate is None, "migrated"
    stopped = after(figures, (now + 50, guest(uptime="0", status='"stopped"', node="pve2")))
    assert (stopped.netin_rate, stopped.uptime) == (0.0, 0)
    assert after(figures, (now + 500, guest(netin="9000", node="pve2"))).netin_rate is None, "too long ago"


@pytest.mark.parametrize("bad", ["-1", '"much"', "true", "1e300", "99999999999999999999"])
def test_figures_that_cannot_be(bad: str) -> None:
    found = after(Figures(), (time.time(), guest(cpu=bad, mem=bad, maxmem=bad, uptime=bad, netin=bad)))
    assert (found.cpu_percent, found.mem, found.maxmem, found.mem_percent, found.uptime) == (None,) * 5


def test_the_senders_clock_counts_unless_it_is_far_off() -> None:
    now = time.time()
    assert after(Figures(), (now - 60, guest())).sampled_at < after(Figures(), (now, guest())).sampled_at
    assert after(Figures(), (1e18, guest())).sampled_at[:4] == time.strftime("%Y", time.gmtime(now))


def test_a_node_in_pieces() -> None:
    figures, now = Figures(), time.time()

    def take(line: str) -> NodeMetrics:
        point = parse(line.encode())
        assert point
        figures.node("lab", "pve1", point, now)
        return figures.taken()["lab"][0]["pve1"]

    tags = "object=nodes,host=pve1"
    assert take(f"cpustat,{tags} cpu=0.5,wait=0.01,avg1=1.5,cpus=8").cpu_percent == 50.0
    take(f"memory,{tags} memtotal=100,memused=40,swaptotal=10,swapused=1")
    take(f"blockstat,{tags} total=1000,used=250,per=25")
    found = take(f"system,{tags} uptime=77")
    assert found.model_dump(exclude={"sampled_at"}) == {
        "cpu_percent": 50.0, "mem": 40, "maxmem": 100, "mem_percent": 40.0, "disk": 250, "maxdisk": 1000,
        "disk_percent": 25.0, "swap": 1, "maxswap": 10, "load1": 1.5, "io_wait_percent": 1.0, "uptime": 77,
        "guests_running": None,
    }  # fmt: skip


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.metrics_figures.MOST", 10)
    figures = Figures()
    for vmid in range(100, 200):
        figures.guest("lab", vmid, guest(), time.time())
        figures.node("lab", f"pve{vmid}", guest(), time.time())
    nodes, guests = figures.taken()["lab"]
    assert (len(nodes), len(guests)) == (10, 10)
    monkeypatch.setattr("mqtt_bridge.listeners.metrics_figures.KEPT", -1)
    figures.forget()
    assert (figures._nodes, figures._samples) == ({}, {})


def test_only_the_fields_that_are_wanted() -> None:
    line = b'm a=1,b="two words",c=3 5'
    assert parse(line, {"c"}) == Point("m", {}, {"c": 3}, 5)
    assert parse(line, {"z"}) == Point("m", {}, {}, 5)
    assert parse(b"m a=1,b", {"a"}) is None
