"""What `proxmox-mcp check` says of the notifiers, with and without sending a test, against services on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mqtt_bridge.settings import load
from proxmox_mcp.check import findings as shown
from proxmox_mcp.check import run_checks
from proxmox_mcp.check.findings import Finding
from proxmox_mcp.check.out_look import check_notifiers
from proxmox_mcp.check.out_test import send_tests
from tests.support.https_host import free_port
from tests.support.mail_host import PASSWORD, RECIPIENT, SENDER, USER, MailHost, mail_host
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, environment
from tests.support.services import (
    GOTIFY_TOKEN,
    NTFY_TOKEN,
    SLOW,
    DiscordServer,
    GotifyServer,
    NtfyServer,
    Receiver,
    Server,
)

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH", "ignore:'imghdr' is deprecated")

HOST = {"PROXMOX_HOST": "h", "PROXMOX_USER": "a@pve!b", "PROXMOX_TOKEN_VALUE": "c"}
HTTP = ("DISCORD_OUT", "GOTIFY_OUT", "NTFY", "WEBHOOK")


@dataclass
class Services:
    discord: DiscordServer = field(default_factory=DiscordServer)
    gotify: GotifyServer = field(default_factory=GotifyServer)
    ntfy: NtfyServer = field(default_factory=NtfyServer)
    webhook: Receiver = field(default_factory=Receiver)
    mail: MailHost = field(default_factory=MailHost)

    @property
    def servers(self) -> dict[str, Server]:
        return dict(zip(HTTP, (self.discord, self.gotify, self.ntfy, self.webhook), strict=True))

    def environ(
        self, enabled: str = "DISCORD_OUT,GOTIFY_OUT,NTFY,EMAIL,WEBHOOK,APPRISE", **more: str
    ) -> dict[str, str]:
        return {
            **HOST,
            "ENABLED_NOTIFIERS": enabled,
            "DISCORD_OUT_WEBHOOK_URL": self.discord.webhook,
            "GOTIFY_OUT_SERVER_URL": self.gotify.url,
            "GOTIFY_OUT_APP_TOKEN": GOTIFY_TOKEN,
            "NTFY_SERVER_URL": self.ntfy.url,
            "NTFY_TOPIC": "homelab",
            "NTFY_TOKEN": NTFY_TOKEN,
            "NOTIFY_EMAIL_SERVER": "127.0.0.1",
            "NOTIFY_EMAIL_PORT": str(self.mail.port or 25),
            "NOTIFY_EMAIL_SECURITY": "none",
            "NOTIFY_EMAIL_FROM": SENDER,
            "NOTIFY_EMAIL_TO": RECIPIENT,
            "NOTIFY_EMAIL_USERNAME": USER,
            "NOTIFY_EMAIL_PASSWORD": PASSWORD,
            "WEBHOOK_OUT_URL": self.webhook.webhook,
            "WEBHOOK_OUT_SECRET": "hidden-signing-secret",
            "APPRISE_URLS": f"json://127.0.0.1:{self.webhook.port}{self.webhook.path}",
            **more,
        }


@asynccontextmanager
async def services() -> AsyncIterator[Services]:
    made = Services()
    async with AsyncExitStack() as stack:
        made.mail = await stack.enter_async_context(mail_host(login=True))
        for server in made.servers.values():
            await stack.enter_async_context(server.running())
        yield made


async def looked(environ: dict[str, str], limit: float = 5) -> dict[str, Finding]:
    found = await check_notifiers(load(environ, search=False), limit)
    _no_secret(found)
    return {one.subject.removeprefix("notifier "): one for one in found if one.what != "encryption"}


async def sent_through(environ: dict[str, str], limit: float = 10) -> dict[str, Finding]:
    found = await send_tests(load(environ, search=False), limit)
    _no_secret(found)
    return {one.subject.removeprefix("notifier "): one for one in found}


def _no_secret(found: list[Finding]) -> None:
    text = shown.to_json(found)
    for secret in (GOTIFY_TOKEN, NTFY_TOKEN, PASSWORD, "hidden-", "sEcReT-webhook"):
        assert secret not in text


async def test_what_was_sent_is_not_called_unsent() -> None:
    async with services() as them:
        settings = load(them.environ("WEBHOOK"), search=False)
        without = await run_checks(settings, checks=(check_notifiers,))
        tested = await run_checks(settings, checks=(check_notifiers,), send_test=True)
    assert [one.what for one in without if one.subject == "notifiers"] == ["test"]
    assert [one.what for one in tested] == ["reach", "test sent"]


async def test_without_sending_each_service_is_looked_at() -> None:
    async with services() as them:
        found = await looked(them.environ())
        assert {name: one.ok for name, one in found.items() if name != "notifiers"} == dict.fromkeys(
            ("DISCORD_OUT", "GOTIFY_OUT", "NTFY", "EMAIL", "WEBHOOK", "APPRISE"), True
        )
        assert "'Proxmox'" in found["DISCORD_OUT"].detail
        assert found["EMAIL"].detail == f"{USER} is let in to 127.0.0.1:{them.mail.port}, unencrypted"
        assert found["APPRISE"].detail == "Apprise understands them: URL 1 (json): JSON"
        assert (found["notifiers"].ok, "--send-test" in found["notifiers"].cure) == (None, True)
        assert (them.discord.messages, them.gotify.messages, them.ntfy.messages, them.mail.taken) == ({}, [], [], [])
        assert [asked.method for asked in them.webhook.asked] == ["OPTIONS"]


async def test_a_test_goes_through_each_and_the_answer_is_told() -> None:
    async with services() as them:
        found = await sent_through(them.environ())
        assert [one.ok for one in found.values()] == [True] * 6, found
        assert "200, message 1" in found["GOTIFY_OUT"].detail
        assert "queued as 4X1" in found["EMAIL"].detail
        assert "posted" in found["DISCORD_OUT"].detail
        assert (len(them.discord.messages), len(them.gotify.messages), len(them.ntfy.messages)) == (1, 1, 1)
        assert "Test of proxmox-mcp" in str(them.mail.mails[0]["Subject"])
        bodies = [asked.json for asked in them.webhook.asked]
        assert any(body.get("kind") == "notice.test" for body in bodies)


async def test_what_is_wrong_is_told_with_its_setting() -> None:
    async with services() as them:
        wrong = them.environ(
            DISCORD_OUT_WEBHOOK_URL=them.discord.webhook[:-1],
            GOTIFY_OUT_APP_TOKEN="WrongToken.1",
            NTFY_TOPIC="elsewhere",
            NOTIFY_EMAIL_PASSWORD="another",
            WEBHOOK_OUT_URL=f"{them.webhook.url}/nothing-here",
            APPRISE_URLS="nonsense://x",
        )
        looks, tests = await looked(wrong), await sent_through(wrong)
    assert {name for name, one in looks.items() if one.ok is False} == {"DISCORD_OUT", "EMAIL", "APPRISE"}
    assert {name for name, one in tests.items() if one.ok is False} == {*HTTP, "EMAIL", "APPRISE"}
    keys = {"DISCORD_OUT": "DISCORD_OUT_WEBHOOK_URL", "GOTIFY_OUT": "GOTIFY_OUT_APP_TOKEN", "NTFY": "NTFY_TOPIC"}
    keys |= {"EMAIL": "NOTIFY_EMAIL_PASSWORD", "WEBHOOK": "WEBHOOK_OUT_URL", "APPRISE": "APPRISE_URLS"}
    for name, key in keys.items():
        assert key in tests[name].detail + tests[name].cure, tests[name]


async def test_what_does_not_answer_ends_in_time() -> None:
    async with services() as them:
        for server in them.servers.values():
            server.faults = [SLOW, SLOW]
        found = await looked(them.environ(",".join(HTTP)), limit=0.5)
        assert {one.ok for name, one in found.items() if name != "notifiers"} == {False}
        assert "no answer within 0.5 seconds" in found["NTFY"].detail
    gone = await looked(Services().environ("GOTIFY_OUT", GOTIFY_OUT_SERVER_URL=f"http://127.0.0.1:{free_port()}"))
    assert gone["GOTIFY_OUT"].ok is False
    assert "GOTIFY_OUT_SERVER_URL" in gone["GOTIFY_OUT"].detail + gone["GOTIFY_OUT"].cure


async def test_something_else_that_answers_is_not_the_service() -> None:
    async with services() as them:
        other = them.webhook.url
        found = await looked(them.environ("GOTIFY_OUT,NTFY", GOTIFY_OUT_SERVER_URL=other, NTFY_SERVER_URL=other))
    assert {found["GOTIFY_OUT"].ok, found["NTFY"].ok} == {False}


async def test_one_recipient_that_is_refused_is_a_problem() -> None:
    async with services() as them:
        them.mail.refuse["gone@example.org"] = "550 5.1.1 No such user"
        found = await sent_through(them.environ("EMAIL", NOTIFY_EMAIL_TO=f"{RECIPIENT},gone@example.org"))
    assert found["EMAIL"].ok is False
    assert "gone@example.org: refused" in found["EMAIL"].detail


async def test_nothing_is_enabled() -> None:
    assert await looked(HOST) == {}
    (only,) = (await sent_through(HOST)).values()
    assert (only.ok, "no notifier is enabled" in only.detail) == (None, True)


async def test_the_command_sends_only_when_asked(tmp_path: Path) -> None:
    async with services() as them:
        env = environment(**them.environ("GOTIFY_OUT", STATE_DIR=str(tmp_path / "state"), PROXMOX_HOST="127.0.0.1:9"))
        for words, sent in (((), 0), (("--send-test",), 1)):
            command = Command(tmp_path / f"c{sent}", "proxmox-mcp", "check", "--json", *words, env=env)
            async with command:
                assert await command.ended(40) == 1, "the host does not answer"
            told = {f["what"]: f for f in json.loads(command.out)["findings"] if f["subject"] == "notifier GOTIFY_OUT"}
            assert told["reach"]["ok"] is True
            assert ("test sent" in told) is bool(sent)
            assert len(them.gotify.messages) == sent


async def test_a_machine_that_only_notifies_needs_no_host(tmp_path: Path) -> None:
    async with services() as them, Mosquitto(tmp_path / "m") as broker:
        given = them.environ(
            "NTFY", STATE_DIR=str(tmp_path / "state"), MQTT_HOST="127.0.0.1", MQTT_PORT=str(broker.port)
        )
        env = environment(**{key: value for key, value in given.items() if key not in HOST})
        words = ("proxmox-mcp", "check", "--only", "notify", "--send-test")
        async with Command(tmp_path / "check", *words, env=env) as command:
            assert await command.ended(40) == 0, command.out
        assert "Everything that is enabled works." in command.out
        assert len(them.ntfy.messages) == 1
        del env["MQTT_HOST"]
        async with Command(tmp_path / "without", *words, env=env) as command:
            assert await command.ended(40) == 2
        assert "MQTT_HOST is missing" in command.err
