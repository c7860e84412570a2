from typing import Any

import pytest

from mqtt_bridge.events.filters import Selection
from mqtt_bridge.events.held import ERRORS, KINDS, Budget
from mqtt_bridge.model import Event
from mqtt_bridge.settings.listening import Filters
from tests.pipeline.happenings import told


def event(kind: str = "backup.job.failed", **about: Any) -> Event:
    return told("EMAIL", kind, **about)


@pytest.mark.parametrize(("filters", "one", "passes"), [
    (Filters(), event(), True),
    (Filters(min_severity="error"), event(), True),
    (Filters(min_severity="error"), event(severity="warning"), False),
    (Filters(kinds=("backup.*",)), event(), True),
    (Filters(kinds=("BACKUP.*",)), event(), True),
    (Filters(kinds=("node.*",)), event(), False),
    (Filters(kinds=("!noise",)), event("noise"), False),
    (Filters(kinds=("!noise",)), event(), True),
    (Filters(kinds=("backup.*", "!*.failed")), event(), False),
    (Filters(kinds=("task.*.failed", "node.*")), event("task.vzdump.failed"), True),
    (Filters(nodes=("pve*",)), event(node="PVE1"), True),
    (Filters(nodes=("pve2",)), event(), False),
    (Filters(nodes=("!pve1",)), event(), False),
    (Filters(nodes=("pve2",)), event("quorum.lost", node=None), True),
    (Filters(guests=("100",)), event(guest=100), True),
    (Filters(guests=("100",)), event(guest=1000), False),
    (Filters(guests=("100-199", "!150")), event(guest=150), False),
    (Filters(guests=("100-199", "!150")), event(guest=199), True),
    (Filters(guests=("!150",)), event(guest=200), True),
    (Filters(guests=("100",)), event("node.offline"), True),
    (Filters(guests=("100",)), event(guests={100: True, 200: False}), True),
    (Filters(guests=("100",)), event(guests={201: True, 200: False}), False),
    (Filters(keywords=("timeout",)), event(title="A TimeOut"), True),
    (Filters(keywords=("timeout",)), event(title="fine"), False),
    (Filters(keywords=("!test",)), event(title="Test mail"), False),
    (Filters(keywords=("a", "!b")), event(title="a b"), False),
])  # fmt: skip
def test_filters(filters: Filters, one: Event, *, passes: bool) -> None:
    assert Selection.of(filters).passes(one) is passes


def test_a_listeners_filters_come_on_top() -> None:
    both = Selection.of(Filters(min_severity="warning"), Filters(kinds=("backup.*",)))
    assert both.passes(event())
    assert not both.passes(event("node.offline"))
    assert not both.passes(event(severity="info"))


def test_a_flood_of_info_holds_back_no_error_and_errors_no_critical() -> None:
    budget = Budget(10)
    assert sum(budget.allows(event(severity="info"), 0) for _ in range(1000)) == 10
    assert not budget.allows(event(severity="warning"), 0)
    assert sum(budget.allows(event(severity="error"), 0) for _ in range(1000)) == 10 * ERRORS
    assert budget.allows(event(severity="critical"), 0)


def test_what_anyone_sends_takes_nothing_from_what_is_authenticated() -> None:
    budget = Budget(10)
    for _ in range(1000):
        budget.allows(event(severity="error", trust="unauthenticated"), 0)
    assert budget.allows(event(severity="error", trust="authenticated"), 0)


def test_the_next_minute_begins_anew_and_the_last_is_summed_up() -> None:
    budget = Budget(1)
    for severity in ("info", "info", "warning"):
        budget.allows(event(severity=severity), 100)
    assert budget.holding
    assert list(budget.due(159)) == []
    (summary,) = budget.due(160)
    assert (summary.total, summary.by_severity, summary.by_kind) == (
        2, {"info": 1, "warning": 1}, {"backup.job.failed": 2},
    )  # fmt: skip
    assert not budget.holding
    assert budget.allows(event(severity="info"), 161)
    assert list(budget.due(300)) == []


def test_a_summary_names_a_bounded_number_of_kinds() -> None:
    budget = Budget(1)
    for number in range(500):
        budget.allows(event(f"kind.{number}"), 0)
        budget.allows(event(f"kind.{number}"), 0)
    (summary,) = budget.due(0, closing=True)
    assert len(summary.by_kind) == KINDS + 1
    assert sum(summary.by_kind.values()) == summary.total == 999


def test_a_clock_that_is_set_back_begins_a_new_minute() -> None:
    budget = Budget(1)
    budget.allows(event(), 1000)
    list(budget.due(5))
    assert budget.allows(event(), 5)


def test_no_limit() -> None:
    budget = Budget(0)
    assert all(budget.allows(event(), 0) for _ in range(10_000))
    assert list(budget.due(100)) == []
