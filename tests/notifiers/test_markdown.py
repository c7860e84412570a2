"""Text from outside, rendered by a Markdown parser: it says what it said, and nothing else comes of it."""

import re

from hypothesis import given
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mqtt_bridge.notifiers import markdown
from mqtt_bridge.wording.clean import clean
from tests.notifiers.texts import texts

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HARMLESS = {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "softbreak", "hardbreak"}


def tokens(source: str) -> list[Token]:
    return [each for token in PARSER.parse(source) for each in (token, *(token.children or ()))]


def shown(source: str) -> str:
    """The text that a reader sees."""
    text = "".join(
        token.content if token.type in {"text", "text_special"} else "\n"
        for token in tokens(source)
        if token.type in {"text", "text_special", "softbreak", "hardbreak", "paragraph_close"}
    )
    return re.sub(r"\s+", " ", text).strip()


@given(texts)
def test_nothing_from_outside_is_markup_in_commonmark(text: str) -> None:
    text = clean(text)
    source = "".join(markdown.escape(text, "  \n"))
    assert {token.type for token in tokens(source)} <= HARMLESS
    assert shown(source) == re.sub(r"\s+", " ", text).strip()


def test_the_escapes_are_needed() -> None:
    evil = "# big\n- item\n[go](https://evil.example) ![i](https://evil.example) <b>x</b> `c` **b** ~~s~~ &lt;\n1. one"
    assert not {token.type for token in tokens(evil)} <= HARMLESS
    assert {token.type for token in tokens("".join(markdown.escape(evil)))} <= HARMLESS


def test_no_bare_link_no_mention() -> None:
    source = "".join(markdown.escape("https://evil.example WWW.evil.example a@b.example @everyone <@1> <t:1:R>"))
    assert source == (r"https\://evil.example WWW\.evil.example a\@b.example \@everyone \<\@1\> \<t:1:R\>")


def test_common_words_stay_readable() -> None:
    plain = "Backup of VM 101 (web01) failed: 12.5 % - no space, pve1.lan 10.0.0.1"
    assert "".join(markdown.escape(plain)) == plain
    assert "".join(markdown.escape("vm_100")) == r"vm\_100"


@given(texts)
def test_a_log_does_not_leave_its_block(text: str) -> None:
    log = markdown.unfenceable(clean(text).strip())
    block = markdown.fenced(log)
    assert "``" not in log
    assert len(block) == len(log) + markdown.FENCE_SIZE
    found = PARSER.parse(f"{block}\n\nafter")
    assert [token.type for token in found] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert found[0].content.replace("\u200b", "").rstrip("\n") == clean(text).strip()
    assert not found[0].info
