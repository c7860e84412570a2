"""Listeners, filters and journal: which run, what they need, who could reach them."""

import pytest

from mqtt_bridge.settings.listening import Filters
from tests.settings.conftest import SHORT, Loader, Reporter

MAIL = {
    "EVENT_EMAIL_IMAP_SERVER": "imap.example.org",
    "EVENT_EMAIL_USERNAME": "pve",
    "EVENT_EMAIL_PASSWORD": "a secret of mail",
}


@pytest.mark.parametrize(
    ("keys", "running"),
    [
        ({}, {"WEBSOCKET"}),
        ({"EVENT_SYSLOG_ENABLED": "true"}, {"WEBSOCKET", "SYSLOG"}),
        ({"ENABLED_EVENT_LISTENERS": "syslog, webhook"}, {"SYSLOG", "WEBHOOK"}),
        ({"ENABLED_EVENT_LISTENERS": "SYSLOG", "EVENT_SYSLOG_ENABLED": "false"}, set()),
        ({"EVENT_WS_ENABLED": "false"}, set()),
        ({"ENABLED_EVENT_LISTENERS": "none", "EVENT_METRICS_ENABLED": "yes"}, {"METRICS"}),
        ({"ENABLE_EVENT_LISTENERS": "false", "EVENT_SYSLOG_ENABLED": "true"}, set()),
    ],
)
def test_a_flag_or_the_list_starts_one_and_an_explicit_false_wins(
    given: Loader, keys: dict[str, str], running: set[str]
) -> None:
    assert given(**keys).events.enabled == running


def test_a_listener_gets_what_is_written_for_it(given: Loader) -> None:
    settings = given(
        **MAIL, EVENT_EMAIL_ENABLED="true", EVENT_EMAIL_FOLDER="INBOX,Proxmox", EVENT_EMAIL_SECURITY="starttls"
    )
    email = settings.listen.email
    assert (email.server, email.port, email.folders) == ("imap.example.org", 143, ("INBOX", "Proxmox"))
    assert email.password is not None
    assert email.password.reveal() == "a secret of mail"
    assert "a secret of mail" not in repr(settings)


def test_filters_for_all_and_for_one(given: Loader) -> None:
    events = given(EVENT_MIN_SEVERITY="warning", EVENT_SYSLOG_KINDS="!auth.*", EVENT_SYSLOG_RATE_LIMIT="60").events
    assert events.filters == Filters(min_severity="warning", kinds=("!noise",))
    assert events.per_listener == {"SYSLOG": Filters(kinds=("!auth.*",), rate_limit=60)}
    assert events.duplicates == "mark"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"ENABLED_EVENT_LISTENERS": "WEBSOKET"}, "ENABLED_EVENT_LISTENERS entry 1 is none of WEBSOCKET"),
        ({"EVENT_EMAIL_ENABLED": "true"}, "EVENT_EMAIL_IMAP_SERVER is missing, and the listener EMAIL needs it"),
        ({"GOTIFY_IN_ENABLED": "true", "GOTIFY_IN_CLIENT_TOKEN": "Cx"}, "GOTIFY_IN_SERVER_URL is missing"),
        ({"EVENT_WEBHOOK_ENABLED": "1", "EVENT_WEBHOOK_LISTEN_HOST": "::"}, "EVENT_WEBHOOK_TOKEN is missing"),
        (
            {"EVENT_WEBHOOK_ENABLED": "1", "EVENT_WEBHOOK_LISTEN_HOST": "::", "EVENT_WEBHOOK_TOKEN": "Zz9-q"},
            "EVENT_WEBHOOK_TOKEN is shorter than 16",
        ),
        ({"EVENT_SYSLOG_ENABLED": "1", "EVENT_SYSLOG_LISTEN_HOST": "::"}, "EVENT_SYSLOG_ALLOWED_SOURCES is missing"),
        ({"EVENT_SMTP_USERNAME": "pve"}, "EVENT_SMTP_USERNAME and EVENT_SMTP_PASSWORD go together"),
        ({"EVENT_GUESTS": "web01"}, "EVENT_GUESTS entry 1 is no VMID"),
        ({"EVENT_SMTP_MAX_SIZE": "5 t"}, "EVENT_SMTP_MAX_SIZE is not a size"),
        ({"EVENT_SMTP_ALLOWED_SOURCES": "lan"}, "EVENT_SMTP_ALLOWED_SOURCES entry 1 is neither an address"),
        ({"EVENT_WS_STORAGE_WARNING": "97"}, "EVENT_WS_STORAGE_WARNING is above EVENT_WS_STORAGE_ERROR"),
        ({"EVENT_EMAIL_PROCESSED": "delete"}, "EVENT_EMAIL_PROCESSED is not flag, seen or move:FOLDER"),
    ],
)
def test_what_is_wrong_is_told_by_key(problems: Reporter, keys: dict[str, str], told: str) -> None:
    assert any(line.startswith(told) for line in problems({**SHORT, **keys}))


def test_a_listener_that_does_not_run_needs_nothing(given: Loader) -> None:
    assert given(EVENT_SYSLOG_LISTEN_HOST="::", GOTIFY_IN_ENABLED="false").events.enabled == {"WEBSOCKET"}


def test_channels_of_discord_are_numbers(given: Loader) -> None:
    """As Discord's own library has them: as text none would ever be found."""
    listed = "123456789012345678, 223456789012345678"
    settings = given(DISCORD_IN_BOT_TOKEN="t", DISCORD_IN_CHANNELS=listed)
    assert settings.listen.discord.channels == (123456789012345678, 223456789012345678)
