"""The lab's SMTP target, as an admin sets it up, pointing at us."""

from __future__ import annotations

from mqtt_bridge.listeners.smtp import SmtpListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import SmtpInSettings
from tests.lab.conftest import Client, api, make_lab
from tests.support.mail_intake import MemoryIntake, listening
from tests.support.processes import until

__all__ = ["api", "make_lab"]  # fixtures

TARGET = "/cluster/notifications/endpoints/smtp"


async def test_a_failed_backup_told_by_mail(api: Client) -> None:
    intake = MemoryIntake()
    listener = SmtpListener(SmtpInSettings(port=0, username="pve", password=Secret("s3cret"), recipients=("events@*",)))
    async with listening(listener, intake):
        await until(lambda: intake.good)
        added = await api(
            "POST",
            TARGET,
            name="bridge",
            server="127.0.0.1",
            port=listener.port,
            mode="insecure",
            username="pve",
            password="s3cret",
            from__address="pve@lab.example",
            mailto="events@bridge.lan",
        )
        assert added.status == 200
        await api("PUT", "/cluster/notifications/matchers/default-matcher", target="bridge")
        tested = await api("POST", "/cluster/notifications/targets/bridge/test")
        assert tested.status == 200
        await until(lambda: intake.reports)
        api.lab.fault("replication-fail", 100, "pve2", "it's broken")
        await until(lambda: len(intake.reports) == 2)
    test, failed = intake.reports.values()
    assert test.verdict.kind == "notification.test"
    assert (failed.verdict.kind, failed.verdict.guest, failed.trust) == ("replication.failed", 100, "authenticated")
    assert failed.verdict.ok is False
