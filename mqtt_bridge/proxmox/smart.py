"""What SMART says of a disk, from the answers of `/nodes/N/disks/smart`: pure functions.

`type: ata` has attributes (`smartctl -A -f brief`), everything else the text of `smartctl`, which NVMe and SAS disks
write in different words. Wear is what the web interface shows, the other way round: used, not left.
Sources: PVE::Diskmanage and its test data, smartmontools (ataprint.cpp, nvmeprint.cpp, scsiprint.cpp, drivedb.h).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Health = Literal["PASSED", "FAILED", "UNKNOWN"]
ATTRIBUTES = 256  # of one disk that are looked at
TEXT = 64 * 1024  # characters of smartctl that are looked at
COLDEST, HOTTEST = -40, 150  # °C: beyond that it is no temperature
LONGEST = 100 * 366 * 24  # hours

_GOOD = frozenset({"PASSED", "OK"})
_BAD = re.compile(r"FAIL|IMPENDING|PREDICTION", re.IGNORECASE)
_NUMBER = re.compile(r"\s*(-?\d{1,9})")
_TEMPERATURE = re.compile(r"^(?:Current Drive )?Temperature:\s+(-?\d{1,4})\s*C", re.MULTILINE)
_WEAR = re.compile(
    r"^Percentage Used(?: endurance indicator)?:\s*(\d{1,4}(?:\.\d{1,4})?)\s*%", re.MULTILINE | re.IGNORECASE
)
_HOURS = re.compile(
    r"^(?:Power On Hours:|\s*number of hours powered up\s*=|Accumulated power on time, hours:minutes)"
    r"\s*(\d[\d,.'\u2019\u00a0\u202f]{0,14})",
    re.MULTILINE,
)
# names that PVE::Diskmanage knows, in its order; their normalized value counts down from 100
_WEARS = (
    "Media_Wearout_Indicator", "SSD_Life_Left", "Wear_Leveling_Count", "Perc_Write/Erase_Ct_BC",
    "Perc_Rated_Life_Remain", "Remaining_Lifetime_Perc", "Percent_Lifetime_Remain", "Lifetime_Left",
    "PCT_Life_Remaining", "Lifetime_Remaining", "Percent_Life_Remaining", "Percent_Lifetime_Used",
    "Perc_Rated_Life_Used",
)  # fmt: skip
_POWERED = 9
_WARM = (194, 190)  # the first is the disk's own; not every disk has it


@dataclass(frozen=True, slots=True)
class Smart:
    """None is "not known". Temperature in °C, wear in percent used, time in hours."""

    health: Health = "UNKNOWN"
    wear: float | None = None
    temperature: float | None = None
    hours: int | None = None


def read(answer: Mapping[str, Any], *, wears: bool) -> Smart:
    """Take an answer apart; `wears` is false for what spins: there such an attribute means something else."""
    told = health(answer.get("health"))
    attributes = answer.get("attributes")
    if isinstance(attributes, list):
        rows = [row for row in attributes[:ATTRIBUTES] if isinstance(row, Mapping)]
        return Smart(told, _worn(rows) if wears else None, _warm(rows), _powered(rows))
    text = str(answer.get("text") or "")[:TEXT]
    used, warm = _WEAR.search(text), _TEMPERATURE.search(text)
    return Smart(
        told,
        min(float(used[1]), 100.0) if used and wears else None,
        _celsius(int(warm[1])) if warm else None,
        _text_hours(text),
    )


def health(said: object) -> Health:
    """`PASSED`, `OK` (SAS), `FAILED!` and the many words of a failing SAS disk; no answer is not known."""
    word = str(said or "").strip()
    if word.upper() in _GOOD:
        return "PASSED"
    return "FAILED" if _BAD.search(word) else "UNKNOWN"


def _celsius(degrees: int) -> float | None:
    """0 is what disks say that do not measure."""
    return float(degrees) if COLDEST <= degrees <= HOTTEST and degrees else None


def _text_hours(text: str) -> int | None:
    """`1,234` and `1.234` have separators, `7127.12` of a SAS disk has decimals."""
    found = _HOURS.search(text)
    if found is None:
        return None
    whole = re.sub(r"[.,]\d{1,2}$", "", found[1].rstrip(".,"))
    return _plausible(int(re.sub(r"\D", "", whole)))


def _plausible(hours: int) -> int | None:
    return hours if 0 <= hours <= LONGEST else None


# --- attributes of ATA disks -----------------------------------------------------------------------------------------


def _number(row: Mapping[str, Any]) -> int:
    found = _NUMBER.match(str(row.get("id", "")))
    return int(found[1]) if found else -1


def _raw(row: Mapping[str, Any]) -> int | None:
    """The first number: `33 (Min/Max 20/45)`, `1259h+06m+33.546s`."""
    found = _NUMBER.match(str(row.get("raw", "")))
    return int(found[1]) if found else None


def _warm(rows: Sequence[Mapping[str, Any]]) -> float | None:
    by_number = {_number(row): row for row in reversed(rows)}
    for number in _WARM:
        degrees = _raw(by_number[number]) if number in by_number else None
        if degrees is not None and (found := _celsius(degrees)) is not None:
            return found
    return None


def _powered(rows: Sequence[Mapping[str, Any]]) -> int | None:
    hours = next((_raw(row) for row in rows if _number(row) == _POWERED), None)
    return None if hours is None else _plausible(hours)


def _worn(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The first of the known names; a value above 100 is on a scale that nobody knows."""
    for name in _WEARS:
        for row in rows:
            if name in str(row.get("name", "")):
                left = row.get("normalized", row.get("value"))
                return float(100 - left) if isinstance(left, int | float) and 0 <= left <= 100 else None  # noqa: PLR2004
    return None
