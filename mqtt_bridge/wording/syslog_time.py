"""The times that log lines begin with, as Unix seconds. Local times without an offset are read as UTC."""

import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_MONTHS: Final[dict[str, int]] = {
    name: number
    for number, names in enumerate(
        (
            "jan janv gen ene sty led ian",
            "feb fév févr fev lut úno",
            "mar mär märz mrz mars mrt mart bře",
            "apr avr avril abr kwi dub",
            "may mai mei mag maj maio kvě",
            "jun juin giu cze čer",
            "jul juil lug lip čvc iul",
            "aug août aoû ago sie srp",
            "sep sept set wrz zář",
            "oct okt ott out paź říj",
            "nov lis",
            "dec dez déc dic dez gru pro",
        ),
        start=1,
    )
    for name in names.split()
}
_ZONES: Final[dict[str, int]] = {
    "UTC": 0, "GMT": 0, "CET": 1, "CEST": 2, "BST": 1, "WET": 0, "WEST": 1, "EET": 2, "EEST": 3, "MSK": 3,
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "JST": 9, "AEST": 10,
}  # fmt: skip
_DAY: Final = 86400
_LEAP: Final = 60

CLASSIC: Final = re.compile(
    r"(?P<mon>[^\W\d_]{3,5})\.? {1,2}(?P<day>\d{1,2}) (?:(?P<year1>20\d\d) )?(?P<clock>\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?"
    r"(?: (?P<year2>20\d\d))?(?: (?P<zone>[A-Z]{3,4})(?=[ :]))?:?(?:\s+|$)"
)
EASTERN: Final = re.compile(
    r"(?P<mon>\d{1,2}) ?[月월] ?(?P<day>\d{1,2}) ?[日일]? (?P<clock>\d\d:\d\d:\d\d)(?P<year1>)(?:[.,]\d{1,9})?\s+"
)
_ISO: Final = (
    r"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d:\d\d)(?P<comma>[.,]\d{1,9})?"
    r"(?: ?(?P<zone>Z\b|[+-]\d\d:?\d\d|UTC|GMT|CES?T|BST|WES?T|EES?T|MSK|[ECMP][SD]T|JST|AEST))?:?(?:\s+|$)"
)
ISO: Final = re.compile(_ISO)
WEEKDAY_ISO: Final = re.compile(f"[A-Z][a-z]{{2}} {_ISO}")
UNIX: Final = re.compile(r"(?P<unix>\d{10}(?:\.\d{1,9})?)\s+")
CLOCK: Final = re.compile(r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\s+")
SINCE_BOOT: Final = re.compile(r"(?:kernel: ?)?\[ {0,12}\d{1,10}\.\d{3,9}\](?:\[ {0,8}[TC]\d{1,8}\])? ?")
BRACKETED: Final = re.compile(
    r"\[[A-Z][a-z]{2} (?P<mon>[A-Z][a-z]{2}) {1,2}(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d) (?P<year1>\d{4})\] ?"
)


def _offset(zone: str | None) -> int:
    """Seconds east of UTC; an unknown zone counts as UTC."""
    if not zone or zone == "Z":
        return 0
    if zone[0] in "+-":
        seconds = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        return -seconds if zone[0] == "-" else seconds
    return 3600 * _ZONES.get(zone, 0)


@lru_cache(1024)
def _seconds(year: int, month: int, day: int, clock: str) -> float | None:
    hour, minute, second = int(clock[:2]), int(clock[3:5]), int(clock[6:8])
    try:
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp() + (second == _LEAP)
    except ValueError:
        return None


def _month(name: str) -> int:
    return int(name) if name.isdigit() else _MONTHS.get(name.lower(), 0)


def is_month(name: str) -> bool:
    """Whether `name` is a month's short name in a language that hosts are set to."""
    return name.lower() in _MONTHS


def classic_time(found: re.Match[str], now: float) -> float | None:
    """`Mar 24 12:04:10`: the year is the one that brings it nearest to `now`; None if that is more than a day off."""
    part = found.groupdict()
    month, day = _month(part["mon"]), int(part["day"])
    year = part["year1"] or part.get("year2")
    offset = _offset(part.get("zone"))
    if year:
        at = _seconds(int(year), month, day, part["clock"])
        return None if at is None else at - offset
    for candidate in _years(int(now)):
        at = _seconds(candidate, month, day, part["clock"])
        if at is not None and abs(at - offset - now) <= _DAY:
            return at - offset
    return None


@lru_cache(16)
def _years(now: int) -> frozenset[int]:
    """The years that a time within a day of `now` can be in."""
    return frozenset(time.gmtime(now + shift).tm_year for shift in (0, _DAY, -_DAY))


def iso_time(found: re.Match[str]) -> float | None:
    """`2026-02-25T11:07:33.5+01:00` and the like."""
    part = found.groupdict()
    year, month, day = part["date"].split("-")
    at = _seconds(int(year), int(month), int(day), part["clock"])
    if at is None:
        return None
    fraction = float("0." + part["comma"][1:]) if part["comma"] else 0.0
    return at + fraction - _offset(part["zone"])
