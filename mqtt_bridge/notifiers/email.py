"""EMAIL: mail through an SMTP server, one connection a mail, each recipient with its own outcome."""

import asyncio
from datetime import tzinfo
from email.utils import parseaddr
from typing import Self

from aiosmtplib import SMTP, SMTPRecipientsRefused
from aiosmtplib.response import SMTPResponse

from mqtt_bridge.notifiers.mail_message import Letterhead, Mail, compose
from mqtt_bridge.notifiers.notice import LaterError, Notice, RefusedError, Sent
from mqtt_bridge.notifiers.several import Outcome, Several
from mqtt_bridge.notifiers.smtp_line import STEP, WHOLE, Line, LoginRefusedError
from mqtt_bridge.notifiers.smtp_words import Words
from mqtt_bridge.settings.notifying import EmailOutSettings

_REFUSED_LOGIN = 300.0  # seconds without another try: no account or address of ours gets locked


class EmailNotifier:
    """Sends to all of NOTIFY_EMAIL_TO. `zone` is that of the times in the text; None: the system's."""

    name = "EMAIL"

    def __init__(
        self, settings: EmailOutSettings, *, zone: tzinfo | None = None, step: float = STEP, whole: float = WHOLE
    ) -> None:
        self._recipients = settings.recipients
        self._letterhead = Letterhead(settings.sender or settings.username, settings.recipients, zone)
        self._words = Words(settings)
        self._line = Line(settings, self._words, step, whole)
        self._several = Several()
        self._login_again = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def send(self, notice: Notice) -> Sent:
        """Returns once the server has taken it for somebody and refused it for the rest, which `answer` then tells.

        Where a recipient has to wait (greylisting), the retry is for that one alone.
        """
        self._pause()
        mail = self._composed(notice)
        missing = self._several.remaining(notice.id, [parseaddr(each)[1] for each in self._recipients])
        try:
            async with self._line.connected() as client:
                outcomes = await self._hand_over(client, mail, missing)
        except LoginRefusedError:
            self._login_again = asyncio.get_running_loop().time() + _REFUSED_LOGIN
            raise
        return self._several.settle(notice.id, outcomes, mail.ref)

    def _pause(self) -> None:
        left = self._login_again - asyncio.get_running_loop().time()
        if left > 0:
            raise LaterError(f"The last login was refused; the next try is in {left:.0f} seconds.", after=left)

    def _composed(self, notice: Notice) -> Mail:
        try:
            return compose(notice, self._letterhead)
        except (ValueError, IndexError) as error:  # the addresses of the settings; no notice can break it
            cure = "Write name@example.org."
            raise RefusedError("NOTIFY_EMAIL_FROM or NOTIFY_EMAIL_TO is no mail address.", cure=cure) from error

    async def _hand_over(self, client: SMTP, mail: Mail, recipients: list[str]) -> dict[str, Outcome]:
        options = ["SMTPUTF8"] if mail.utf8 else []
        sender = self._letterhead.address
        try:
            refused, answer = await client.sendmail(sender, recipients, mail.content, mail_options=options)
        except SMTPRecipientsRefused as error:
            answers = {each.recipient: SMTPResponse(each.code, each.message) for each in error.recipients}
            return {each: self._words.recipient(response) for each, response in answers.items()}
        outcomes = {each: Outcome("sent", self._words.said(answer)) for each in recipients}
        return outcomes | {each: self._words.recipient(response) for each, response in refused.items()}
