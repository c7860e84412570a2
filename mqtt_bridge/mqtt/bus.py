"""What every consumer sees of MQTT: the same whether a broker is behind it (`broker`) or not (`loopback`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One publish as received. `retain` is the broker's flag: set only on what it had stored.

    `ticket` is what a durable session acknowledges it by; it holds for the connection that it came over. `expiry` (s),
    of what is published in MQTT 5: the broker forgets it after that.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    response_topic: str | None = None
    correlation_data: bytes | None = None
    ticket: object = field(default=None, compare=False, repr=False)
    expiry: int | None = None


OnMessages = Callable[[Sequence[Message]], None]


class Bus(Protocol):
    """A connection to MQTT. Messages arrive in batches, on the event loop, at the callable given when it was made."""

    @property
    def connected(self) -> bool: ...

    @property
    def generation(self) -> int:
        """How often it has connected. A new generation means: subscriptions and retained messages may be gone."""
        ...

    async def wait_connected(self, after: int = 0) -> int:
        """Wait until connected in a generation later than `after`; returns that generation."""
        ...

    async def wait_disconnected(self, generation: int) -> None:
        """Wait until the connection of `generation` is lost."""
        ...

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, correlation_data: bytes | None = None
    ) -> None:
        """Returns once the broker acknowledged it (QoS 1) or it was handed to the connection (QoS 0).

        Raises BrokerUnreachableError without a connection or when it is lost before the acknowledgement, and
        BrokerRefusedError with the reason when the broker refused it (MQTT 5).
        """
        ...

    async def publish_many(self, messages: Sequence[Message]) -> Sequence[str]:
        """Publish them in this order, with their `qos` and `retain`: cheaper than one by one.

        Returns for each why the broker refused it, or "". Raises BrokerUnreachableError as `publish` does; then it is
        not known which of them arrived.
        """
        ...

    async def subscribe(
        self,
        filters: Sequence[str],
        *,
        qos: int = 0,
        retain_handling: int = 0,
        retain_as_published: bool = False,
        no_local: bool = False,
    ) -> None:
        """Returns once granted; the options beside `qos` are MQTT 5's and are left out on 3.1.1."""
        ...

    async def unsubscribe(self, filters: Sequence[str]) -> None: ...


class DurableBus(Bus, Protocol):
    """One with a session that the broker keeps; what is not acknowledged comes again with the next connection."""

    @property
    def reason(self) -> str | None:
        """Why it is not connected, in a sentence."""
        ...

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """These are written down: the broker may forget them. Of an earlier connection: nothing happens."""
        ...
