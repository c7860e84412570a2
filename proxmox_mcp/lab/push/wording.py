"""How Proxmox writes sizes, durations and tables into its notifications."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;", "`": "&#x60;", "=": "&#x3D;"}
_CELL = ' style="border: 1px solid;border-collapse=collapse;"'
Rows = list[tuple[str, ...]]


def size(count: float) -> str:
    """430.758 MiB, 529 MiB, 0 B."""
    place = 0
    while count >= 1024 and place < len(_UNITS) - 1:  # noqa: PLR2004 - a KiB
        count, place = count / 1024, place + 1
    return f"{count:.3f}".rstrip("0").rstrip(".") + f" {_UNITS[place]}"


def duration(seconds: int) -> str:
    """1h 2m 3s, 5s."""
    hours, rest = divmod(seconds, 3600)
    parts = ((hours, "h"), (rest // 60, "m"))
    return " ".join([*(f"{number}{unit}" for number, unit in parts if number), f"{rest % 60}s"])


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def escape(text: str) -> str:
    return "".join(_HTML.get(char, char) for char in text)


def text_table(head: tuple[str, ...], rows: Rows) -> str:
    """Columns as wide as their widest cell and four spaces, the last one too."""
    widths = [max(map(len, column)) + 4 for column in zip(head, *rows, strict=True)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "".join(f"{line}\n" for line in lines)


def html_table(head: tuple[str, ...], rows: Rows, *, more: str = "") -> str:
    """Cells are closed by `th`, as the real template does."""
    lines = [f'        <table style="border: 1px solid;border-collapse=collapse;{more}">']
    for kind, row in (("th", head), *(("td", row) for row in rows)):
        cells = [f"                <{kind}{_CELL}>{escape(cell)}</th>" for cell in row]
        lines += ["            <tr>", *cells, "            </tr>"]
    return "".join(f"{line}\n" for line in (*lines, "        </table>"))


def page(body: str) -> str:
    return f"<html>\n    <body>\n{body}    </body>\n</html>\n"


def quoted_page(text: str) -> str:
    """Backup Server puts the text as it is into its mails."""
    return f"<html><body><pre>{escape(text)}</pre></body></html>"
