"""What needs a new configuration, and in which order."""

from mqtt_bridge.homeassistant.book import Book
from mqtt_bridge.homeassistant.thing import Key, Thing
from tests.homeassistant.things import cluster, guest, node, storage


def put(book: Book, *things: Thing) -> None:
    for thing in things:
        book.take(thing.key.topic, thing.state, thing.key.ids)


def due(book: Book) -> list[Key]:
    found: list[Key] = []
    while batch := book.due(2):
        found += batch
    return found


def test_parents_come_first_and_each_once() -> None:
    book = Book()
    things = guest(), guest(101, name="web02"), storage(), node(), cluster()
    put(book, *things)
    put(book, guest())
    assert [key.kind for key in due(book)] == ["cluster", "node", "guest", "guest", "storage"]
    assert due(book) == []


def test_only_what_makes_a_configuration_counts() -> None:
    book = Book()
    put(book, guest())
    due(book)
    put(book, guest(status="stopped", last_backup="2026-01-01T00:00:00Z"))
    assert due(book) == []
    put(book, guest(node="pve2"))
    assert due(book) == [guest().key]
    put(book, guest(node="pve2", name="mail"))
    assert due(book) == [guest().key]


def test_twins_are_told_apart_and_become_single_again() -> None:
    book = Book()
    put(book, guest(100, name="web-01"))
    due(book)
    put(book, guest(101, name="web.01"))
    assert set(due(book)) == {guest(100).key, guest(101).key}
    first = book.thing(guest(100).key)
    assert first
    assert first.twin
    put(book, guest(101, name="other"))
    assert set(due(book)) == {guest(100).key, guest(101).key}
    again = book.thing(guest(100).key)
    assert again
    assert not again.twin


def test_a_guest_called_like_a_node() -> None:
    book = Book()
    put(book, node("pve1"), guest(100, name="PVE1"))
    found = book.thing(guest(100).key)
    assert found
    assert found.twin


def test_what_is_gone_is_due_once() -> None:
    book = Book()
    put(book, guest())
    due(book)
    book.take("guest", None, {"site": "lab", "vmid": 100})
    assert guest().key not in book
    assert due(book) == [guest().key]
    book.mark_all()
    assert due(book) == []
