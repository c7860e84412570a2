"""From the start of a process to its answer of `tools/list` on stdio, turn by turn with a bare server of the SDK's."""

from pathlib import Path

from tests.bench.report import Report, milliseconds
from tests.support.measures import cold_start
from tests.support.processes import environment

RUNS = 12
NOWHERE = {
    "PROXMOX_HOST": "127.0.0.1:1",
    "PROXMOX_USER": "a@pve",
    "PROXMOX_TOKEN_NAME": "t",
    "PROXMOX_TOKEN_VALUE": "00000000-0000-0000-0000-000000000000",
}


async def test_cold_start(tmp_path: Path, report: Report) -> None:
    """With settings as a user has them; nothing answers there, so that only the start is measured."""
    await cold_start(tmp_path, environment(**NOWHERE, STATE_DIR=str(tmp_path)), runs=1)
    taken = await cold_start(tmp_path, environment(**NOWHERE, STATE_DIR=str(tmp_path)), runs=RUNS)
    report.figures["cold start"] = {"bare": taken.bare, "ours": taken.ours, "ratio": taken.ratio}
    report.add(
        "cold start on stdio, to tools/list",
        "<= 1.3 x a bare SDK server",
        f"{taken.ratio:.2f} x ({milliseconds(taken.ours)} against {milliseconds(taken.bare)}, medians of {RUNS})",
        taken.ratio <= 1.3,
    )
