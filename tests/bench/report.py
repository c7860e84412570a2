"""Rows of the design's table of targets with what was measured, as text and as JSON."""

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure. `met` is None where there is no target."""

    what: str
    target: str
    measured: str
    met: bool | None = None


@dataclass
class Report:
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, what: str, target: str, measured: str, met: bool | None = None) -> None:
        self.rows.append(Row(what, target, measured, met))
        sys.stdout.write(f"\n  {what}: {measured}\n")
        sys.stdout.flush()

    def machine(self) -> dict[str, object]:
        return {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(terse=True),
            "load_before": round(self.load_before, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def text(self) -> str:
        head = ("what", "target", "measured", "met")
        lines = [(r.what, r.target, r.measured, {True: "yes", False: "NO", None: ""}[r.met]) for r in self.rows]
        widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
        table = ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)) for line in (head, *lines)]
        about = ", ".join(f"{key} {value}" for key, value in self.machine().items())
        return "\n".join([table[0], "-" * len(table[0]), *table[1:], "", about])

    def write(self, path: Path) -> None:
        told = {"machine": self.machine(), "rows": [asdict(row) for row in self.rows], "figures": self.figures}
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
