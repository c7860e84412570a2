"""Figures of events on their way in and out, for /metrics."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from proxmox_mcp.metrics import Row

if TYPE_CHECKING:
    from mqtt_bridge.events.events import Events
    from mqtt_bridge.events.intakes import EventIntake

COUNTED = {
    "accepted": "Reports that became events",
    "replays": "Reports that were events already",
    "duplicates": "Events that another one had told already",
    "filtered": "Reports that the filters left out",
    "held": "Reports that the rate limit held back",
}


def event_rows(events: "Events") -> Iterator[Row]:
    """Listeners, journal, outbox."""
    waiting = events.pipeline.waiting
    for name in events.listeners:
        yield from _listener(events.pipeline.intake(name), waiting.get(name, 0))
    yield from _journal(events)
    text = "Events handed to the MQTT broker, by outcome; missed: by readers in this process"
    for outcome in ("published", "refused", "missed"):
        yield Row("proxmox_outbox_events_total", "counter", text, events.outbox.stats[outcome], {"outcome": outcome})
    yield Row("proxmox_outbox_up", "gauge", "Whether events reach the broker", not events.outbox.problem)


def _listener(intake: "EventIntake", waiting: int) -> Iterator[Row]:
    listener = {"listener": intake.name}
    info, numbers = intake.info(), intake.numbers()
    yield Row("proxmox_listener_up", "gauge", "Whether it works", info.status == "ok", listener)
    yield Row("proxmox_listener_waiting", "gauge", "Reports that wait to be written down", waiting, listener)
    for name, text in COUNTED.items():
        yield Row(f"proxmox_listener_{name}_total", "counter", text, numbers[name], listener)
    for reason, count in info.rejected.items():
        text = "What was refused, by reason"
        yield Row("proxmox_listener_rejected_total", "counter", text, count, {**listener, "reason": reason})
    if intake.last_event is not None:
        text = "When it last brought an event, in Unix seconds"
        yield Row("proxmox_listener_last_event_timestamp_seconds", "gauge", text, intake.last_event, listener)


def _journal(events: "Events") -> Iterator[Row]:
    stats = events.journal.stats
    yield Row("proxmox_journal_up", "gauge", "Whether the journal can be written", not stats.problem)
    yield Row("proxmox_journal_events", "gauge", "Events in the journal", stats.stored)
    yield Row("proxmox_journal_unpublished_events", "gauge", "Of these, not yet with the broker", stats.unpublished)
    yield Row("proxmox_journal_refused_events", "gauge", "Of these, refused by the broker", stats.refused)
    yield Row("proxmox_journal_dropped_total", "counter", "Events that JOURNAL_MAX_EVENTS made room for", stats.dropped)
    yield Row("proxmox_journal_size_bytes", "gauge", "Size of the journal's files", stats.size)
