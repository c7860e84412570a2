"""The lab's SMTP target, set up with the command of the docs, pointing at us."""

from __future__ import annotations

import re
from pathlib import Path

from mqtt_bridge.listeners.smtp import SmtpListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import SmtpInSettings
from tests.lab.conftest import Client, api, make_lab
from tests.support.mail_intake import MemoryIntake, listening
from tests.support.processes import until

__all__ = ["api", "make_lab"]  # fixtures

DOCS = Path(__file__).parents[2] / "docs/listeners-mail.md"
TARGET = "/cluster/notifications/endpoints/smtp"


async def test_a_failed_backup_told_by_mail(api: Client) -> None:
    intake = MemoryIntake()
    listener = SmtpListener(SmtpInSettings(port=0, username="pve", password=Secret("s3cret"), recipients=("events@*",)))
    async with listening(listener, intake):
        await until(lambda: intake.good)
        found = re.findall(r"--([a-z][a-z-]*) (\S+)", DOCS.read_text())
        told = {name.replace("-", "__"): value for name, value in found}
        ours = {"server": "127.0.0.1", "port": listener.port, "username": "pve", "password": "s3cret"}
        added = await api("POST", TARGET, **(told | ours))
        assert added.status == 200
        await api("PUT", "/cluster/notifications/matchers/default-matcher", target=told["name"])
        tested = await api("POST", f"/cluster/notifications/targets/{told['name']}/test")
        assert tested.status == 200
        await until(lambda: intake.reports)
        api.lab.fault("replication-fail", 100, "pve2", "it's broken")
        await until(lambda: len(intake.reports) == 2)
    test, failed = intake.reports.values()
    assert test.verdict.kind == "notification.test"
    assert (failed.verdict.kind, failed.verdict.guest, failed.trust) == ("replication.failed", 100, "authenticated")
    assert failed.verdict.ok is False
