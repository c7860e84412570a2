"""HTML into the text that a person sees of it: rows and cells stay apart. One pass, whatever is in it."""

import html
import re

LIMIT = 1024 * 1024
_TOKEN = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9]{0,20})(?P<rest>[^<>]*)>|<![^<>]*>|<\?[^<>]*>")
_UNSEEN = frozenset({"script", "style", "head", "title", "template"})
_LINE = frozenset({"br", "p", "div", "tr", "table", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "hr"})
_CELL = frozenset({"td", "th"})
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_TAGS = re.compile(
    r"</?(?:b|strong|i|em|u|s|code|pre|a|span|blockquote|br|p|div|html|body|table|tr|td|th|tbody|thead|ul|ol|li|h[1-6])"
    r"(?:\s[^<>]{0,500})?/?>",
    re.IGNORECASE,
)


def looks_like_html(text: str) -> bool:
    """Tags that only markup has, near the beginning."""
    return bool(_TAGS.search(text[:20_000]))


def text_of(markup: str) -> str:
    """What `markup` shows; what lies behind its first MiB is left out."""
    out: list[str] = []
    unseen: str | None = None
    pre, position = 0, 0
    markup = markup[:LIMIT]
    for token in _TOKEN.finditer(markup):
        if unseen is None:
            out.append(_shown(markup[position : token.start()], pre > 0))
        position = token.end()
        name = (token["name"] or "").lower()
        closing = bool(token["close"])
        if unseen is not None:
            unseen = None if closing and name == unseen else unseen
            continue
        if name in _UNSEEN and not closing:
            unseen = name
        elif name == "pre":
            pre = max(pre + (-1 if closing else 1), 0)
        out.append(_mark(name, closing=closing))
    if unseen is None:
        out.append(_shown(markup[position:], pre > 0))
    return _tidy("".join(out))


def without_tags(text: str) -> str:
    """Text with a few tags in it, as Telegram takes it: newlines count."""
    return html.unescape(_TAGS.sub(lambda tag: "\n" if tag[0].lower().startswith(("<br", "</p", "</tr")) else "", text))


def _shown(text: str, verbatim: bool) -> str:
    plain = html.unescape(text)
    return plain if verbatim else _SPACE.sub(" ", plain)


def _mark(name: str, *, closing: bool) -> str:
    if name in _CELL:
        return "  "  # at both ends: PVE up to 8.0 left the closing tags out
    if name == "li" and not closing:
        return "\n- "
    return "\n" if name in _LINE else ""


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(line if line.startswith(" " * 2) else line.lstrip() for line in lines).strip("\n")
