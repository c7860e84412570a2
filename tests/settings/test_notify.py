"""Notifiers: which run, what they need, what each is told."""

import pytest

from mqtt_bridge.settings.notifying import Routing
from tests.settings.conftest import SHORT, Loader, Reporter

NTFY = {"NTFY_TOPIC": "a-secret-topic"}


@pytest.mark.parametrize(
    ("keys", "running"),
    [
        ({}, set()),
        (NTFY, set()),
        ({**NTFY, "NTFY_ENABLED": "true"}, {"NTFY"}),
        ({**NTFY, "ENABLED_NOTIFIERS": "ntfy"}, {"NTFY"}),
        ({**NTFY, "ENABLED_NOTIFIERS": "NTFY", "NTFY_ENABLED": "false"}, set()),
    ],
)
def test_a_flag_or_the_list_starts_one_and_an_explicit_false_wins(
    given: Loader, keys: dict[str, str], running: set[str]
) -> None:
    assert given(**keys).notify.enabled == running


def test_what_is_told_to_one(given: Loader) -> None:
    settings = given(**NTFY, NTFY_ENABLED="1", NTFY_MIN_SEVERITY="error", NTFY_KINDS="backup.*", NTFY_TAGS="prod")
    assert settings.notify.routing == {"NTFY": Routing(min_severity="error", kinds=("backup.*",), tags=("prod",))}
    assert settings.out.ntfy.server_url == "https://ntfy.sh"
    assert "a-secret-topic" not in repr(settings)


@pytest.mark.parametrize(
    ("keys", "ids"),
    [
        ({}, set()),
        ({"DISCORD_OUT_WEBHOOK_URL": "https://discord.com/api/webhooks/4711/secret"}, {4711}),
        ({"DISCORD_OUT_WEBHOOK_URL": "https://discord.com/api/v10/webhooks/4711/secret?thread_id=1"}, {4711}),
        ({"APPRISE_URLS": "discord://12/secret, discord://bot@34/secret/,tgram://56/7"}, {12, 34}),
    ],
)
def test_the_webhooks_that_we_post_through_are_known_to_the_discord_listener(
    given: Loader, keys: dict[str, str], ids: set[int]
) -> None:
    assert given(**keys).listen.discord.own_webhooks == ids


def test_the_port_of_mail_follows_the_security(given: Loader) -> None:
    assert given().out.email.port == 587
    assert given(NOTIFY_EMAIL_SECURITY="tls").out.email.port == 465
    assert given(NOTIFY_EMAIL_SECURITY="none", NOTIFY_EMAIL_PORT="2525").out.email.port == 2525


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"ENABLED_NOTIFIERS": "DISCORD"}, "ENABLED_NOTIFIERS entry 1 is none of DISCORD_OUT"),
        ({"ENABLED_NOTIFIERS": "DISCORD_OUT"}, "DISCORD_OUT_WEBHOOK_URL is missing, and the notifier DISCORD_OUT"),
        ({"NOTIFY_EMAIL_ENABLED": "1", "NOTIFY_EMAIL_SERVER": "m"}, "NOTIFY_EMAIL_TO is missing"),
        ({"NOTIFY_EMAIL_TO": "nobody"}, "NOTIFY_EMAIL_TO entry 1 is not a mail address"),
        ({"NOTIFY_QUIET_HOURS": "late"}, "NOTIFY_QUIET_HOURS is not a span of hours"),
        ({"TZ": "Europe/Berln"}, "TZ is no time zone"),
        ({"NTFY_TOPIC": "a/b"}, "NTFY_TOPIC is not a topic"),
    ],
)
def test_what_is_wrong_is_told_by_key(problems: Reporter, keys: dict[str, str], told: str) -> None:
    assert any(line.startswith(told) for line in problems({**SHORT, **keys}))


@pytest.mark.parametrize("zone", ["CET-1CEST", ":/etc/localtime", "UTC"])
def test_other_forms_of_a_time_zone_are_the_systems_business(given: Loader, zone: str) -> None:
    assert given(TZ=zone).notify.timezone in {"", "UTC"}
