"""What the report of a mail adds to its wording, whatever the mail is like."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.listeners import mail_report
from mqtt_bridge.listeners.imap_whose import Whose

TOKENS = (
    'From: |Subject: |Message-ID: |\r\n|\r\n\r\n|(|)|<|>|@|"|\\|,|:|=?utf-8?B?|=?x?q?|?=|\xff|\x00|root@pve1|[|]|;| '
)
PIECES = st.sampled_from([token.encode("latin-1") for token in TOKENS.split("|")])


def read(mail: bytes) -> None:
    verdict = mail_report.understand(mail, 1.0)
    Whose(("root@*",)).proxmox(mail_report.headers(mail), verdict)
    mail_report.report(mail, verdict, "unauthenticated", folder="INBOX")


@pytest.mark.parametrize("mark", ["(", '"', "<", "[", "@", ",", "(\\", ":;"])
def test_a_thousand_brackets_in_from(mark: str) -> None:
    """Python's parser of addresses goes as deep as they do."""
    read(f"From: {mark * 1000}\r\nSubject: backup failed\r\n\r\nx".encode())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(lambda piece, times: piece * times, PIECES, st.integers(1, 600)), max_size=12).map(b"".join))
def test_anything(mail: bytes) -> None:
    read(mail)
