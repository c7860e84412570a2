"""A notice as the HTML of a mail: tables and inline styles, which every mail client understands.

No script, no form, nothing loaded from anywhere. The style sheet only recolours for dark mode: clients that drop it
(and those that invert by themselves) show the same in light colours.
"""

import re
from collections import Counter
from datetime import tzinfo
from html import escape

from mqtt_bridge.model import Event
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifiers.render import AMBER, BLUE, CRIMSON, GREEN, RED, event_look, listed, look, moment, tidy, where
from mqtt_bridge.wording.clean import one_line

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_MONO = "font-family:ui-monospace,'SF Mono',Consolas,'DejaVu Sans Mono',monospace"
_TABLE = 'role="presentation" cellpadding="0" cellspacing="0" border="0"'
_INK, _SOFT, _EDGE = "#111827", "#5b6472", "#e5e7eb"
_WORST_FIRST = (CRIMSON, RED, AMBER, BLUE, GREEN)
_TITLE_IN_A_ROW = 120  # characters
_PREVIEW = 140  # characters that a list of mails shows beside the subject

_BAD = re.compile(r"\b(?:error|failed|failure|fatal|panic|refused|denied|timed? ?out)\b", re.IGNORECASE)

_DARK = """
@media (prefers-color-scheme: dark) {
 .page { background: #0f1216 !important }
 .card { background: #1a1f26 !important; border-color: #2c333d !important }
 .ink { color: #f1f3f5 !important }
 .soft { color: #a3adba !important }
 .edge { border-color: #2c333d !important }
 .bad { color: #ff9b94 !important }
 .log { background: #0f1216 !important; color: #d5dbe3 !important; border-color: #2c333d !important }
}
@media (max-width: 480px) { .pad { padding-left: 18px !important; padding-right: 18px !important } }
"""


def html(notice: Notice, zone: tzinfo | None = None) -> str:
    """A whole document; `zone` as in `render.moment`."""
    tidied = tidy(notice)
    parts = (_head(tidied, zone), _text(tidied), _facts(tidied), _digest(tidied, zone), _log(tidied), _button(tidied))
    return _page(tidied, "\n".join(part for part in parts if part))


def _page(notice: Notice, content: str) -> str:
    colour = look(notice).colour
    preview = one_line(f"{look(notice).word}: {notice.title}. {notice.text}", _PREVIEW)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">
<title>{escape(notice.title)}</title><style>{_DARK}</style></head>
<body class="page" style="margin:0;padding:0;background:#f3f4f6">
<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">{escape(preview)}</div>
<table {_TABLE} class="page" width="100%" style="background:#f3f4f6"><tr><td align="center" style="padding:24px 12px">
<table {_TABLE} class="card" width="100%" style="max-width:640px;background:#ffffff;border:1px solid {_EDGE};\
border-radius:10px;overflow:hidden;border-collapse:separate">
<tr><td height="6" style="height:6px;line-height:6px;font-size:0;background:{colour}">&nbsp;</td></tr>
{content}
<tr><td class="pad" height="22" style="height:22px;line-height:22px;font-size:0">&nbsp;</td></tr>
</table>
{_foot(notice)}
</td></tr></table></body></html>
"""


def _row(content: str, top: int) -> str:
    return f'<tr><td class="pad" style="padding:{top}px 28px 0">{content}</td></tr>'


def _head(notice: Notice, zone: tzinfo | None) -> str:
    shown = look(notice)
    place = " &middot; ".join(escape(part) for part in (notice.site, moment(notice.at, zone)) if part)
    return _row(
        f'<span style="display:inline-block;{_FONT};font-size:12px;line-height:16px;font-weight:700;color:#ffffff;'
        f'background:{shown.colour};border-radius:4px;padding:2px 8px">{escape(shown.word)}</span>'
        f'<span class="soft" style="{_FONT};font-size:13px;color:{_SOFT}">&nbsp; {place}</span>'
        f'<h1 class="ink" style="{_FONT};font-size:21px;line-height:28px;font-weight:650;color:{_INK};'
        f'margin:12px 0 0;overflow-wrap:anywhere">{escape(notice.title)}</h1>',
        22,
    )


def _text(notice: Notice) -> str:
    if not notice.text or notice.text == notice.title:
        return ""
    lines = escape(notice.text).replace("\n", "<br>\n")
    style = f"{_FONT};font-size:15px;line-height:23px;color:{_INK};margin:0;overflow-wrap:anywhere"
    return _row(f'<p class="ink" style="{style}">{lines}</p>', 12)


def _facts(notice: Notice) -> str:
    if not notice.facts:
        return ""
    cell = f"{_FONT};font-size:14px;line-height:20px;padding:7px 0;border-top:1px solid {_EDGE};vertical-align:top"
    rows = "".join(
        f'<tr><td class="soft edge" width="120" style="{cell};color:{_SOFT};padding-right:16px">{escape(label)}</td>'
        f'<td class="ink edge" style="{cell};color:{_INK};overflow-wrap:anywhere">{escape(value)}</td></tr>'
        for label, value in notice.facts
    )
    return _row(f'<table {_TABLE} width="100%">{rows}</table>', 18)


def _digest(notice: Notice, zone: tzinfo | None) -> str:
    events, more = listed(notice)
    if not events:
        return ""
    rows = "".join(_event(event, zone) for event in events)
    if more:
        rows += f'<tr><td class="soft" colspan="3" style="{_small(_SOFT)};padding:8px 0">and {more} more</td></tr>'
    return _row(_tally(notice), 18) + _row(f'<table {_TABLE} width="100%">{rows}</table>', 12)


def _tally(notice: Notice) -> str:
    """A bar that shows how many of them are what, and the same in words."""
    counted = Counter((found.colour, found.word) for found in map(event_look, notice.events))
    parts = sorted(counted.items(), key=lambda part: _WORST_FIRST.index(part[0][0]))
    bar = "".join(
        f'<td height="8" width="{max(1, round(100 * count / len(notice.events)))}%" '
        f'style="height:8px;line-height:8px;font-size:0;background:{colour}">&nbsp;</td>'
        for (colour, _), count in parts
    )
    words = " &nbsp; ".join(f"{_dot(colour)}{count} {escape(word)}" for (colour, word), count in parts)
    return (
        f'<table {_TABLE} width="100%" style="border-radius:4px;overflow:hidden"><tr>{bar}</tr></table>'
        f'<div class="ink" style="{_small(_INK)};padding-top:8px">{words}</div>'
    )


def _event(event: Event, zone: tzinfo | None) -> str:
    cell = f"padding:7px 0;border-top:1px solid {_EDGE};vertical-align:top"
    title = escape(one_line(event.title, _TITLE_IN_A_ROW))
    time = escape(":".join(moment(event.timestamp, zone).partition(", ")[2].split(":")[:2]))
    return (
        f'<tr><td class="ink edge" style="{_small(_INK)};{cell};overflow-wrap:anywhere">'
        f"{_dot(event_look(event).colour)}{title}</td>"
        f'<td class="soft edge" style="{_small(_SOFT)};{cell};padding-left:12px">{escape(where(event))}</td>'
        f'<td class="soft edge" align="right" style="{_small(_SOFT)};{cell};padding-left:12px;white-space:nowrap">'
        f"{time}</td></tr>"
    )


def _log(notice: Notice) -> str:
    if not notice.log:
        return ""
    style = (
        f"{_MONO};font-size:12.5px;line-height:18px;color:#1f2937;background:#f6f7f9;border:1px solid {_EDGE};"
        "border-radius:6px;padding:12px 14px;margin:6px 0 0;white-space:pre-wrap;overflow-wrap:anywhere"
    )
    lines = "\n".join(map(_log_line, notice.log.splitlines()))
    caption = f'<div class="soft" style="{_small(_SOFT)}">End of the log</div>'
    return _row(f'{caption}<pre class="log" style="{style}">{lines}</pre>', 20)


def _log_line(line: str) -> str:
    """Emphasised where it seems to say what went wrong."""
    shown = escape(line)
    return f'<span class="bad" style="color:#b91c1c;font-weight:600">{shown}</span>' if _BAD.search(line) else shown


def _button(notice: Notice) -> str:
    if not notice.url:
        return ""
    style = (
        f"display:inline-block;{_FONT};font-size:14px;line-height:20px;font-weight:600;color:#ffffff;"
        "text-decoration:none;padding:9px 18px"
    )
    link = f'<a href="{escape(notice.url)}" style="{style}">Open in Proxmox</a>'
    cell = f'<td bgcolor="#1f2937" style="background:#1f2937;border:1px solid #475569;border-radius:6px">{link}</td>'
    return _row(f"<table {_TABLE}><tr>{cell}</tr></table>", 22)


def _foot(notice: Notice) -> str:
    thread = f" &middot; incident {escape(notice.incident)}" if notice.incident else ""
    return (
        f'<div class="soft" style="{_FONT};font-size:12px;line-height:18px;color:{_SOFT};max-width:640px;'
        f'padding:14px 8px 0">Sent by proxmox-mcp{thread}. Texts of hosts and guests are shown as they came.</div>'
    )


def _small(colour: str) -> str:
    return f"{_FONT};font-size:13px;line-height:19px;color:{colour}"


def _dot(colour: str) -> str:
    return f'<span style="color:{colour};font-size:15px;line-height:15px">&#9679;</span>&nbsp;'
