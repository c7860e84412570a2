"""What an SMTP server answered, as what it means for us: again later or never, in a sentence with the cure."""

import ssl

from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPTimeoutError,
)
from aiosmtplib.response import SMTPResponse

from mqtt_bridge.notifiers.notice import LaterError, RefusedError
from mqtt_bridge.notifiers.several import Outcome
from mqtt_bridge.secret import STARS
from mqtt_bridge.settings.notifying import EmailOutSettings
from mqtt_bridge.wording.clean import one_line

_ANSWER = 200  # characters of an answer that are shown
_LOGIN = "Check NOTIFY_EMAIL_USERNAME and NOTIFY_EMAIL_PASSWORD; many providers want an app password."
_CURES = {
    530: "The server wants a login: set NOTIFY_EMAIL_USERNAME and NOTIFY_EMAIL_PASSWORD.",
    534: _LOGIN,
    535: _LOGIN,
    538: "The server takes a login only encrypted: set NOTIFY_EMAIL_SECURITY to starttls or tls.",
}
_NEVER = 500


class Words:
    """Speaks of one server; never of its password, even if the server does."""

    def __init__(self, settings: EmailOutSettings) -> None:
        self._server = f"{settings.server}:{settings.port}"
        self._password = settings.password.reveal() if settings.password else ""

    def said(self, answer: str) -> str:
        """An answer in one line that may be shown."""
        hidden = answer.replace(self._password, STARS) if self._password else answer
        return one_line(hidden, _ANSWER).rstrip(".")

    def recipient(self, response: SMTPResponse) -> Outcome:
        """Of one recipient that was not taken."""
        shown = f"{response.code} {self.said(response.message)}"
        if response.code < _NEVER:
            return Outcome("later", f"{self._server} does not take it for now: {shown}.")
        return Outcome("refused", f"{self._server} refuses the recipient: {shown}. Check NOTIFY_EMAIL_TO.")

    def error(self, error: Exception) -> LaterError | RefusedError:
        """Any failure of a conversation."""
        if isinstance(error, SMTPResponseException):
            return self._answered(error)
        if isinstance(error, SMTPNotSupported):
            return RefusedError(f"{self._server} takes no addresses with such characters (SMTPUTF8).")
        if isinstance(error, TimeoutError | SMTPTimeoutError):
            return LaterError(f"{self._server} did not answer in time.")
        return self._broken(error)

    def no_starttls(self) -> RefusedError:
        """Sending in the clear instead is what somebody in between would like."""
        cure = "Set NOTIFY_EMAIL_SECURITY to tls (usually port 465), or to none in a network that you trust."
        return RefusedError(f"{self._server} offers no STARTTLS.", cure=cure)

    def no_login(self) -> RefusedError:
        """A password is set and cannot be used."""
        cure = "Leave NOTIFY_EMAIL_USERNAME empty, or use the port for submission (587 with starttls, 465 with tls)."
        return RefusedError(f"{self._server} takes no login here.", cure=cure)

    def _answered(self, error: SMTPResponseException) -> LaterError | RefusedError:
        shown = f"{error.code} {self.said(error.message)}"
        if not _NEVER <= error.code < _NEVER + 100:  # also what was no answer of SMTP
            return LaterError(f"{self._server} does not take it for now: {shown}.")
        return RefusedError(
            f"{self._server} refuses {_what(error)}: {shown}.", cure=_CURES.get(error.code, _cure(error))
        )

    def _broken(self, error: Exception) -> LaterError:
        causes = _causes(error)
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                cure = (
                    "Name the server as its certificate does, or make its CA known (SSL_CERT_FILE); "
                    "NOTIFY_EMAIL_VERIFY_TLS=false checks nothing."
                )
                return LaterError(f"The certificate of {self._server} is not trusted: {cause.verify_message}. {cure}")
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            cure = "Check NOTIFY_EMAIL_SECURITY: port 465 speaks TLS from the start, port 587 STARTTLS."
            return LaterError(f"{self._server} does not speak TLS as expected. {cure}")
        reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")
        cure = "Check NOTIFY_EMAIL_SERVER and NOTIFY_EMAIL_PORT, and that the server runs."
        return LaterError(f"{self._server} cannot be reached or hung up: {self.said(reason or str(error))}. {cure}")


def _what(error: SMTPException) -> str:
    if isinstance(error, SMTPAuthenticationError):
        return "the login"
    if isinstance(error, SMTPSenderRefused):
        return "the sender"
    return "the mail" if isinstance(error, SMTPDataError) else "us"


def _cure(error: SMTPException) -> str:
    if isinstance(error, SMTPAuthenticationError):
        return _LOGIN
    return "Check NOTIFY_EMAIL_FROM." if isinstance(error, SMTPSenderRefused) else ""


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and what it came from, outermost first."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and len(found) < 10:  # noqa: PLR2004 -- a chain may be a ring
        found.append(at)
        at = at.__cause__ or at.__context__
    return found
