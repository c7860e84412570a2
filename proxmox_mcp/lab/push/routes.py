"""The notification API, which both products have under a path of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .config import ENDPOINTS, FLAGS, MATCHER, Entry, pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .notifier import Notifier


class Asked(Protocol):
    """A call to either product."""

    params: dict[str, Any]

    @property
    def notifier(self) -> Notifier:
        """The system that is asked."""
        ...

    @property
    def sender(self) -> str:
        """Name of the host that was asked."""
        ...

    @property
    def now(self) -> int:
        """Seconds since the epoch."""
        ...


def shown(entry: Entry, flag: Callable[[Any], Any]) -> dict[str, Any]:
    """Answer an entry without what is private; flags as the product writes them."""
    row = dict(entry.values) | {"origin": entry.origin}
    row |= {key: flag(row[key]) for key in FLAGS if key in row}
    if secrets := entry.private.get("secret"):
        row["secret"] = [f"name={pair(text)[0]}" for text in secrets]
    return row


def routes(prefix: str, flag: Callable[[Any], Any], fields: tuple[str, ...]) -> tuple[tuple[str, str, Any], ...]:
    """Give the routes below `prefix`: `flag` makes 0/1 or false/true, `fields` is what matchers can look at."""

    def targets(call: Asked) -> list[dict[str, Any]]:
        keys = ("name", "comment", "disable", "origin")
        rows = [(one, shown(one, flag)) for one in call.notifier.config.targets()]
        return [{"type": one.kind} | {key: row[key] for key in keys if key in row} for one, row in rows]

    async def test(call: Asked) -> None:
        await call.notifier.test(call.sender, call.params["name"], call.now)

    def known(_call: Asked) -> list[dict[str, str]]:
        return [{"name": name} for name in fields]

    kinds = [*((f"{prefix}/endpoints/{kind}", kind) for kind in ENDPOINTS), (f"{prefix}/matchers", MATCHER)]
    return (
        ("GET", f"{prefix}/targets", targets),
        ("POST", f"{prefix}/targets/{{name}}/test", test),
        ("GET", f"{prefix}/matcher-fields", known),
        *(row for path, kind in kinds for row in _crud(path, kind, flag)),
    )


def _crud(path: str, kind: str, flag: Callable[[Any], Any]) -> Iterable[tuple[str, str, Any]]:
    def listing(call: Asked) -> list[dict[str, Any]]:
        return [shown(one, flag) for one in call.notifier.config.of(kind)]

    def one(call: Asked) -> dict[str, Any]:
        config = call.notifier.config
        return shown(config.get(kind, call.params["name"]), flag) | {"digest": config.digest}

    def add(call: Asked) -> None:
        call.notifier.config.add(kind, call.params)

    def update(call: Asked) -> None:
        call.notifier.config.update(kind, call.params)

    def delete(call: Asked) -> None:
        call.notifier.config.delete(kind, call.params["name"])

    single = f"{path}/{{name}}"
    return (
        ("GET", path, listing),
        ("POST", path, add),
        ("GET", single, one),
        ("PUT", single, update),
        ("DELETE", single, delete),
    )
