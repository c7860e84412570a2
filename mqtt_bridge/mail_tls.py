"""How mail servers are verified, whether mail is read from them or handed to them."""

import ssl

from certifi import where


def context(*, verify: bool) -> ssl.SSLContext:
    """The system's CAs (SSL_CERT_FILE adds to them) and the usual public ones; none of it where `verify` is off."""
    made = ssl.create_default_context()
    made.load_verify_locations(where())
    # What Python 3.13 made strict many a mail server at home does not fulfil; its own certificate may be the anchor.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
