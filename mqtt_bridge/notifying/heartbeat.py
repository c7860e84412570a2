"""HEARTBEAT_URL is asked for while all is well, so that whoever watches it notices our own death."""

import asyncio
import logging
from collections.abc import Callable

import aiohttp

from mqtt_bridge.secret import Secret

log = logging.getLogger(__name__)

WITHIN = 10.0  # seconds for one request
GOOD = range(200, 300)


class Heartbeat:
    """`run` it, supervised. `trouble` says what is wrong with us, empty while all is well: then it is silent.

    `problem` is why the last request failed. The URL is a secret: whoever knows it can pretend that we live.
    """

    def __init__(self, url: Secret, interval: float, trouble: Callable[[], str]) -> None:
        self.problem = ""
        self._url = url
        self._interval = interval
        self._trouble = trouble

    async def run(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=WITHIN)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while True:
                if not self._trouble():
                    self._note(await self._ask(session))
                await asyncio.sleep(self._interval)

    async def _ask(self, session: aiohttp.ClientSession) -> str:
        try:
            async with session.get(self._url.reveal(), allow_redirects=False) as answer:
                if answer.status in GOOD:
                    return ""
                return f"The service behind HEARTBEAT_URL says {answer.status}. Correct the URL."
        except TimeoutError:
            return f"The service behind HEARTBEAT_URL did not answer within {WITHIN:.0f} s."
        except aiohttp.InvalidURL:
            return "HEARTBEAT_URL is no URL that can be asked for."
        except aiohttp.ClientError as error:
            return f"The service behind HEARTBEAT_URL is not reachable ({type(error).__name__})."

    def _note(self, problem: str) -> None:
        if problem and not self.problem:
            log.warning("%s", problem)
        self.problem = problem
