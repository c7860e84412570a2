"""Any notice: what hypothesis makes of titles, texts, logs, facts."""

from typing import Any, get_args

from hypothesis import strategies as st

from mqtt_bridge.notifiers.notice import NoticeKind
from mqtt_bridge.severity import SEVERITIES
from tests.support.notices import event, notice

NASTY = (
    "```", "`", "@everyone", "<@123>", "<@&1>", "<#2>", "[a](https://evil.example)", "![x](https://evil.example/i.png)",
    "https://evil.example", "www.evil.example", "# ", "- ", "+ ", "* ", "1. ", "2) ",
    "> ", "||", "**", "__", "~~", "\\", "\n", "\n\n",
    "    ", "\t", "<script>", "&lt;", "\u202e", "\u200b", "\x00", "\x1b[31m", "\ud800", "\U0001f600", "\u05d0\u05d1",
    "\u0627\u0644", "e\u0301", "\U000e0041", '"', "\ufdfd", "\u2028", "a" * 300, "word " * 60, "|-|", "===", ":-:",
)  # fmt: skip

texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=40)), max_size=25).map("".join)
long_texts = st.builds(lambda text, times: text * times, texts, st.sampled_from((1, 2, 50)))
kinds: st.SearchStrategy[NoticeKind] = st.sampled_from(get_args(NoticeKind))


@st.composite
def notices(draw: st.DrawFn) -> Any:
    return notice(
        id=draw(texts),
        kind=draw(kinds),
        title=draw(texts),
        text=draw(long_texts),
        severity=draw(st.sampled_from(SEVERITIES)),
        at=draw(st.sampled_from(("2026-11-20T03:00:54Z", "", "soon", "0001-01-01T00:00:00+14:00", "2026-11-20"))),
        site=draw(texts),
        incident=draw(texts),
        log=draw(long_texts),
        url=draw(st.one_of(st.none(), texts, texts.map("https://pve1.lan:8006/{}".format))),
        facts=tuple(draw(st.lists(st.tuples(texts, long_texts), max_size=15))),
        tags=tuple(draw(st.lists(texts, max_size=9))),
        events=tuple(event(number) for number in range(draw(st.integers(0, 60)))),
    )
