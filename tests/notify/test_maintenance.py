"""Maintenance and acknowledgement as commands ask for them, for notifiers here and in a process of their own."""

from collections.abc import AsyncIterator, Callable

import pytest

from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event
from mqtt_bridge.notifying import incident_book
from mqtt_bridge.notifying.deciding import Decider
from mqtt_bridge.notifying.maintenance import About, Maintenance, MaintenanceError, about
from mqtt_bridge.notifying.silences import Scope
from mqtt_bridge.settings.notifying import NotifySettings
from tests.notify.making import Desk, desk, event, loud


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    async with Journal() as one:
        yield one


@pytest.fixture
def it(journal: Journal) -> Maintenance:
    return Maintenance(journal)


async def published(journal: Journal) -> list[Event]:
    return [stored.event for stored in await journal.unpublished(0, 100)]


async def wrong(journal: Journal, *events: Event) -> list[str]:
    """These happen; the ids of what is wrong then."""
    decider = Decider(NotifySettings(routing=loud("A")), ["A"])
    now = 1_790_000_000.0
    await journal.db.write(lambda c: decider.take(events, c, now))
    return [one.id for one in await journal.db.read(incident_book.current)]


@pytest.mark.parametrize(
    ("scope", "target", "node", "guest"),
    [("site", "", None, None), ("node", "pve1", "pve1", None), ("guest", 100, None, 100), ("tag", "web", None, None)],
)
async def test_it_holds_at_once_and_is_told_to_other_processes(  # noqa: PLR0917 -- fixtures and cases
    journal: Journal, it: Maintenance, scope: Scope, target: str | int, node: str | None, guest: int | None
) -> None:
    what = about(scope, "lab", target)
    one = await it.begin(what, "2h", reason="new disks", by="mqtt:ann")
    assert (one.scope, one.site, one.target, one.reason, one.by) == (scope, "lab", str(target), "new disks", "mqtt:ann")
    assert one.until - one.since == 7200
    assert await it.active() == [one]
    (told,) = await published(journal)
    assert (told.kind, told.node, told.guest, told.message) == ("maintenance.started", node, guest, "new disks")
    assert await it.end(what, by="mqtt:ann") == (one,)
    assert await it.active() == []
    assert [e.kind for e in await published(journal)] == ["maintenance.started", "maintenance.ended"]
    with pytest.raises(MaintenanceError, match=r"no maintenance of"):
        await it.end(what)


async def test_once_more_gives_it_a_new_end(it: Maintenance) -> None:
    what = about("node", "lab", "pve1")
    first = await it.begin(what, 60.0)
    second = await it.begin(what, "1d", reason="longer")
    assert second.id == first.id
    assert second.until > first.until
    assert [(one.id, one.until, one.reason) for one in await it.active()] == [(first.id, second.until, "longer")]


@pytest.mark.parametrize(
    ("scope", "site", "target"),
    [("guest", "lab", "web"), ("guest", "lab", ""), ("node", "lab", "a\nb"), ("tag", "lab", " "), ("site", "L/b", "")],
)
def test_what_names_nothing(scope: Scope, site: str, target: str) -> None:
    with pytest.raises(MaintenanceError):
        about(scope, site, target)


@pytest.mark.parametrize("duration", ["soon", "0", 0.0, -5.0, "9999d"])
async def test_what_is_no_duration(journal: Journal, it: Maintenance, duration: str | float) -> None:
    with pytest.raises(MaintenanceError, match="30m"):
        await it.begin(about("site", "lab"), duration)
    assert await published(journal) == []


async def test_acknowledging_what_is_wrong_there(journal: Journal, it: Maintenance) -> None:
    ids = await wrong(journal, event("guest.oom", guest=100, same="oom-1"), event("node.offline", node="pve2"))
    assert len(ids) == 2
    (one,) = await it.acknowledge(about("guest", "lab", 100), by="ann")
    assert (one.id, one.acknowledged) == ("oom-1", "ann")
    assert [(e.kind, e.guest) for e in await published(journal)] == [("incident.acknowledged", 100)]
    (same,) = await it.acknowledge(about("site", "lab"), by="bob", incident="oom-")
    assert (same.id, same.acknowledged) == ("oom-1", "bob")
    assert len(await it.acknowledge(about("site", "lab"), by="bob")) == 2


@pytest.mark.parametrize(
    ("make", "incident", "text"),
    [
        (lambda: about("guest", "lab", 101), None, "Nothing is wrong at guest 101 of site lab"),
        (lambda: about("guest", "lab", 101), "oom-1", "no incident 'oom-1' at guest 101"),
        (lambda: about("guest", "lab", 100), "oo", "too short"),
        (lambda: about("site", "other"), None, "Nothing is wrong"),
    ],
)
async def test_what_cannot_be_acknowledged(
    journal: Journal, it: Maintenance, make: Callable[[], About], incident: str | None, text: str
) -> None:
    await wrong(journal, event("guest.oom", guest=100, same="oom-1"))
    with pytest.raises(MaintenanceError, match=text):
        await it.acknowledge(make(), by="ann", incident=incident)
    assert await published(journal) == []


async def test_where_no_notifier_runs_it_is_passed_on(journal: Journal) -> None:
    assert await Maintenance(journal, tells=False).acknowledge(about("node", "lab", "pve1"), by="ann") == ()
    assert [e.kind for e in await published(journal)] == ["incident.acknowledged"]


def apart() -> Desk:
    """The notifiers of a process of their own."""
    one = desk()
    one.decider = Decider(one.settings, one.names, follows=True)
    return one


async def test_notifiers_of_another_process_follow_it(journal: Journal, it: Maintenance) -> None:
    what = about("node", "lab", "pve1")
    held = await it.begin(what, "1h", by="ann")
    there = apart()
    there.now = held.since + 5
    there.take(*await published(journal))
    there.on("guest.oom", guest=100)
    there.on("guest.oom", guest=200, node="pve2")
    assert there.words() == [("event", "guest.oom 200")]
    await it.end(what)
    there.take(*await published(journal))
    there.later(5)
    assert [kind for kind, _ in there.words()] == ["digest"], "what is still wrong"


async def test_what_was_acknowledged_here_is_there(journal: Journal) -> None:
    there = apart()
    there.on("storage.offline", metadata={"storage": "nfs"})
    assert len(there.sent()) == 1
    await Maintenance(journal, tells=False).acknowledge(about("node", "lab", "pve1"), by="ann")
    there.take(*await published(journal))
    (one,) = incident_book.current(there.connection)
    assert one.acknowledged == "ann"


async def test_an_event_from_mqtt_silences_nothing_where_the_bridge_itself_tells(
    journal: Journal, it: Maintenance
) -> None:
    await it.begin(about("site", "lab"), "1h")
    here = desk()
    here.take(*await published(journal))
    here.on("node.offline")
    assert here.words() == [("event", "node.offline pve1")]


def test_what_is_none_of_its_events_is_left_alone() -> None:
    there = apart()
    for told in (
        {},
        {"scope": "x", "target": "pve1"},
        {"scope": "node"},
        {"scope": "node", "target": "pve1", "until": "soon"},
    ):
        there.take(event("maintenance.started", metadata=told))
    there.on("node.offline")
    assert ("event", "node.offline pve1") in there.words()
