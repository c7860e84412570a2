"""A notice as people read it: all of it there, bounded, and nothing of it markup."""

import re
from datetime import UTC
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifiers.render import CRIMSON, GREEN, RED, body, look, moment, tail, text, tidy
from mqtt_bridge.notifiers.render_html import html
from tests.support.notices import digest, event, notice

_TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "div",
    "table",
    "tr",
    "td",
    "span",
    "h1",
    "p",
    "br",
    "pre",
    "a",
}
_VOID = {"meta", "br"}


class Page(HTMLParser):
    """Its visible text and links; fails on what has no place in a mail."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.shown = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS
        if tag not in _VOID:
            self._open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "background", "action"}
            if name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in {"style", "title"}:
            self.shown += data


def test_everything_is_there_in_both() -> None:
    told = notice()
    page = Page(html(told, UTC))
    for shown in (page.shown, text(told, UTC)):
        assert told.title in shown
        assert "no space left on device." in shown
        assert "20 Nov 2026, 03:00:54 UTC" in shown
        assert told.log in shown
        assert all(label in shown and value in shown for label, value in told.facts)
    assert page.links == [told.url]
    assert str(told.url) in text(told)


def test_nothing_is_loaded_and_nothing_runs() -> None:
    source = html(digest(30, event(99, severity="error", ok=False)))
    assert not re.search(r"url\(|@import|<script|<img|<link|<iframe|javascript:", source, re.IGNORECASE)


def test_dark_mode_recolours_all_that_has_a_colour_of_its_own() -> None:
    source = html(notice())
    assert '<meta name="color-scheme" content="light dark">' in source
    dark = source.partition("prefers-color-scheme: dark")[2].partition("</style>")[0]
    used = {name for names in re.findall(r'class="([^"]+)"', source) for name in names.split()}
    assert used == set(re.findall(r"\.(\w+) \{", dark))


@pytest.mark.parametrize(
    ("kind", "severity", "word", "colour"),
    [
        ("event", "critical", "Critical", CRIMSON),
        ("update", "error", "Error, update", RED),
        ("reminder", "error", "Error, still open", RED),
        ("recovery", "critical", "Recovered", GREEN),
        ("digest", "info", "Digest", GREEN),
    ],
)
def test_what_it_is_shows_at_a_glance(kind: str, severity: str, word: str, colour: str) -> None:
    told = notice(kind=kind, severity=severity)
    assert (look(told).word, look(told).colour) == (word, colour)
    bar = re.search(r'height="6" style="[^"]*background:(#\w+)', html(told))
    assert bar
    assert bar[1] == colour
    assert text(told).startswith(f"[{word}] ")


def test_a_digest_shows_its_worst_first_and_counts_the_rest() -> None:
    told = digest(60, event(98, severity="error", ok=False, title="Backup of win11 failed"))
    page = Page(html(told, UTC))
    assert look(told).colour == RED, "whatever its own severity says"
    assert page.shown.index("Backup of win11 failed") < page.shown.index("Backup of web01 finished")
    assert "60 OK" in page.shown
    assert "1 Error" in page.shown
    assert "and 21 more" in page.shown
    assert "and 21 more" in body(told)
    assert body(told).index("win11") < body(told).index("web01")


def test_an_empty_notice_is_still_one() -> None:
    bare = Notice(id="1", kind="test", title="", text="", severity="info", at="")
    assert Page(html(bare)).shown.strip().startswith("Test: Notice")
    assert text(bare) == "[Test] Notice\n\n\n"


_NO_LINKS = ["javascript:alert(1)", "file:///etc/passwd", "https://a b", 'https://a"onclick=', "https://a\n", "//a"]


@pytest.mark.parametrize("url", [*_NO_LINKS, "https://" + "a" * 2000])
def test_a_link_that_is_none_of_the_web_is_left_out(url: str) -> None:
    assert Page(html(notice(url=url))).links == []
    assert url not in text(notice(url=url))


_MARKUP = ["</pre><script>alert(1)</script>", "<!--", "]]>", "&lt;b&gt;", '"><a href="//evil">x</a>']
_ODD = st.text(max_size=200) | st.sampled_from([*_MARKUP, "\u202e\u2066", "\x1b[31m"])


@settings(max_examples=300, deadline=None)
@given(odd=st.tuples(_ODD, _ODD, _ODD, _ODD, _ODD, _ODD))
def test_texts_from_outside_are_never_markup(odd: tuple[str, ...]) -> None:
    title, words, site, incident, label, log = odd
    listed = event(1, title=title, node=site, severity="error", timestamp=label, context={"name": words})
    told = notice(
        kind="digest", title=title, text=words, site=site, incident=incident, facts=((label, words),), log=log,
        at=label, events=[listed], url=None,
    )  # fmt: skip
    page = Page(html(told))
    assert page.links == []
    tidied = tidy(told)
    for part in (tidied.title, tidied.text, tidied.log):
        assert part in page.shown
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page.shown + text(told))


def test_a_log_keeps_its_end_in_whole_lines() -> None:
    lines = [f"line {number} {'x' * 100}" for number in range(1000)]
    kept = tail("\n".join(lines)).splitlines()
    assert kept[0] == "…"
    assert kept[1:] == lines[-len(kept) + 1 :]
    assert 50 <= len(kept) <= 61
    assert tail("one line") == "one line"
    assert len(tail("y" * 10**6)) <= 8002


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-11-20T03:00:12Z", "20 Nov 2026, 04:00:12 CET"),
        ("2026-07-01T23:30:00", "2 Jul 2026, 01:30:00 CEST"),
        ("yesterday", "yesterday"),
        ("", ""),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_times_are_those_of_the_reader(at: str, shown: str) -> None:
    assert moment(at, ZoneInfo("Europe/Berlin")) == shown
