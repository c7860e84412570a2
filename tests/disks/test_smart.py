"""SMART answers as Proxmox gives them for disks of many kinds: lines of smartctl as users' hosts print them."""

from typing import Any

import pytest

from mqtt_bridge.proxmox.smart import Smart, health, read


def nvme(**lines: str) -> dict[str, Any]:
    told = {
        "Critical Warning": "0x00",
        "Temperature": "30 Celsius",
        "Available Spare": "100%",
        "Available Spare Threshold": "10%",
        "Percentage Used": "4%",
        "Power Cycles": "3,693",
        "Power On Hours": "6,726",
        "Warning  Comp. Temperature Time": "0",
        "Critical Comp. Temperature Time": "0",
        "Temperature Sensor 1": "38 Celsius",
        "Temperature Sensor 2": "47 Celsius",
        **{name.replace("_", " "): value for name, value in lines.items()},
    }
    text = "".join(f"{name + ':':<36}{value}\n" for name, value in told.items())
    return {"health": "PASSED", "type": "text", "text": f"\nSMART/Health Information (NVMe Log 0x02)\n{text}"}


def ata(*rows: tuple[int, str, int, str]) -> dict[str, Any]:
    """Number, name, normalized value, raw value."""
    attributes = [
        {
            "id": f"{number:>3}", "name": name, "value": value, "normalized": value, "raw": raw, "flags": "-O--CK",
            "worst": value, "threshold": 0, "fail": "-",
        }
        for number, name, value, raw in rows
    ]  # fmt: skip
    return {"health": "PASSED", "type": "ata", "attributes": attributes}


def text(body: str, said: str = "OK") -> dict[str, Any]:
    return {"health": said, "type": "text", "text": f"\n{body}"}


# what it is, what Proxmox answers, what is read of it
ANSWERS: tuple[tuple[str, dict[str, Any], Smart], ...] = (
    ("an NVMe disk", nvme(), Smart("PASSED", 4.0, 30.0, 6726)),
    (
        "one that is used up (its makers say so in health) in a locale with points",
        {**nvme(Percentage_Used="213%", Power_On_Hours="41.285", Critical_Warning="0x04"), "health": "FAILED!"},
        Smart("FAILED", 100.0, 30.0, 41285),
    ),
    ("one that measures no temperature", nvme(Temperature="0 Celsius"), Smart("PASSED", 4.0, None, 6726)),
    (
        "a Samsung SSD, which has its temperature only as 190",
        ata(
            (5, "Reallocated_Sector_Ct", 100, "0"),
            (9, "Power_On_Hours", 95, "21933"),
            (177, "Wear_Leveling_Count", 98, "41"),
            (190, "Airflow_Temperature_Cel", 67, "33"),
        ),
        Smart("PASSED", 2.0, 33.0, 21933),
    ),
    (
        "an Intel SSD with both temperatures",
        ata(
            (9, "Power_On_Hours", 100, "1259"),
            (190, "Temperature_Case", 72, "28 (Min/Max 21/30)"),
            (194, "Temperature_Internal", 100, "26"),
            (233, "Media_Wearout_Indicator", 97, "0"),
        ),
        Smart("PASSED", 3.0, 26.0, 1259),
    ),
    (
        "a Crucial SSD",
        ata(
            (9, "Power_On_Hours", 100, "8341"),
            (194, "Temperature_Celsius", 67, "33 (Min/Max 20/45)"),
            (202, "Percent_Lifetime_Remain", 88, "12"),
        ),
        Smart("PASSED", 12.0, 33.0, 8341),
    ),
    (
        "a disk that spins: what looks like wear there is something else",
        ata(
            (9, "Power_On_Hours", 99, "1250h+06m+33.546s"),
            (190, "Airflow_Temperature_Cel", 69, "31 (Min/Max 20/33)"),
            (194, "Temperature_Celsius", 31, "31 (0 17 0 0 0)"),
            (240, "Head_Flying_Hours", 100, "1259h+06m+33.546s"),
        ),
        Smart("PASSED", None, 31.0, 1250),
    ),
    (
        "figures that cannot be",
        ata((9, "Power_On_Hours", 1, "988553534"), (194, "Temperature_Celsius", 1, "214748364"),
            (190, "Airflow_Temperature_Cel", 60, "40"), (177, "Wear_Leveling_Count", 253, "0")),
        Smart("PASSED", None, 40.0, None),
    ),
    (
        "a SAS SSD",
        text(
            "Percentage used endurance indicator: 7%\nCurrent Drive Temperature:     28 C\n"
            "Drive Trip Temperature:        70 C\n\nManufactured in week 30 of year 2017\n"
            "  number of hours powered up = 7127.12\n  number of minutes until next internal SMART test = 0\n"
        ),
        Smart("PASSED", 7.0, 28.0, 7127),
    ),
    (
        "a SAS disk with the words of newer versions, and failing",
        text(
            "Current Drive Temperature:     41 C\nDrive Trip Temperature:        85 C\n\n"
            "Accumulated power on time, hours:minutes 40312:11\n",
            "FAILURE PREDICTION THRESHOLD EXCEEDED: ascq=0x5 [asc=5d, ascq=5]",
        ),
        Smart("FAILED", None, 41.0, 40312),
    ),
    ("smartctl cannot read it", {"health": "UNKNOWN"}, Smart()),
    ("nothing of what we know", {"health": "SMART Disabled", "type": "text", "attributes": 7, "text": None}, Smart()),
)  # fmt: skip


@pytest.mark.parametrize(("answer", "smart"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_what_disks_say(answer: dict[str, Any], smart: Smart, request: pytest.FixtureRequest) -> None:
    assert read(answer, wears="spins" not in request.node.name) == smart


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("PASSED", "PASSED"),
        ("OK", "PASSED"),
        ("FAILED!", "FAILED"),
        ("DATA CHANNEL IMPENDING FAILURE GENERAL HARD DRIVE FAILURE [asc=5d, ascq=30]", "FAILED"),
        ("HARDWARE IMPENDING FAILURE TOO MANY BLOCK REASSIGNS [asc=5d, ascq=14]", "FAILED"),
        ("WARNING - SPECIFIED TEMPERATURE EXCEEDED [asc=b, ascq=1]", "UNKNOWN"),
        ("UNKNOWN", "UNKNOWN"),
        ("SMART Disabled", "UNKNOWN"),
        (None, "UNKNOWN"),
    ],
)
def test_words_of_health(said: str | None, means: str) -> None:
    assert health(said) == means
