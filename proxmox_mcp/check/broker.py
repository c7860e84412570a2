"""The MQTT broker: connecting, publishing, subscribing by wildcard and what is retained, each seen with own eyes."""

import asyncio
import importlib.util
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mqtt_bridge import statedir
from mqtt_bridge.errors import BrokerError
from mqtt_bridge.mqtt import embedded_mosquitto
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.settings import Settings, is_loopback
from mqtt_bridge.statedir import broker_options
from mqtt_bridge.topics import Topics
from proxmox_mcp.check.findings import Finding

CONNECT = 8.0  # seconds
ARRIVAL = 3.0  # seconds for a message to come back
_TOPIC = "bridge_state"
_PAYLOAD = b"offline"
_STEPS = ("connect", "publish", "subscribe", "retained")


@dataclass
class _Trial:
    """A connection under test: a topic of our own kind, with a name that nobody else has."""

    options: BrokerOptions
    names: Topics
    bridge: str
    findings: list[Finding] = field(default_factory=list)
    seen: list[Message] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    protocol: str = ""

    @property
    def topic(self) -> str:
        return self.names.build(_TOPIC, bridge=self.bridge)

    def note(self, what: str, ok: bool | None, detail: str, cure: str = "") -> None:
        self.findings.append(Finding(f"broker {self.options.address}", what, ok, detail, cure))

    def receive(self, messages: Sequence[Message]) -> None:
        self.seen += [message for message in messages if message.topic == self.topic]
        self.arrived.set()

    async def arrives(self, fits: Callable[[Message], bool]) -> bool:
        """Whether such a message has come, or comes soon."""
        try:
            async with asyncio.timeout(ARRIVAL):
                while not any(fits(message) for message in self.seen):
                    self.arrived.clear()
                    await self.arrived.wait()
        except TimeoutError:
            return False
        return True


async def check_broker(settings: Settings, limit: float) -> list[Finding]:
    """The configured broker, else that of a bridge that runs here, else what `serve` would start."""
    configured = broker_options(settings.mqtt)
    running = None if configured else statedir.local_owner(settings.general.state_dir)
    if configured is None and running is None:
        return [_own_broker(settings), *_words(settings, "" if embedded_mosquitto.find() else "3.1.1", "broker")]
    options = configured or (running.options if running else BrokerOptions(host=""))
    base = running.base_topic if running else settings.mqtt.base_topic
    trial = _Trial(options, Topics(base), f"{settings.general.bridge_name}-check-{secrets.token_hex(4)}")
    try:
        async with asyncio.timeout(limit):
            await _try(trial)
    except TimeoutError:
        trial.note(_next(trial), False, f"no answer within {limit:g} seconds", "It is overloaded or hangs: look at it.")
    _encryption(trial)
    trial.findings += _words(settings, trial.protocol, f"broker {options.address}")
    tried = {finding.what for finding in trial.findings}
    for what in _STEPS:
        if what not in tried:
            trial.note(what, None, "not tried, since a step before it failed")
    return trial.findings


def _next(trial: _Trial) -> str:
    return next((step for step in _STEPS if step not in {finding.what for finding in trial.findings}), _STEPS[-1])


async def _try(trial: _Trial) -> None:
    async with Broker(trial.options, trial.receive, role="check") as broker:
        try:
            async with asyncio.timeout(CONNECT):
                await broker.first_attempt()
        except TimeoutError:
            cure = "Check MQTT_HOST, MQTT_PORT and MQTT_TLS, and that the broker is not frozen."
            trial.note("connect", False, "it does not answer", cure)
            return
        except BrokerError as error:
            trial.note("connect", False, error.message, error.cure)
            return
        trial.protocol = broker.protocol or ""
        trial.note("connect", True, f"connected with MQTT {broker.protocol}")
        try:
            await _exchange(trial, broker)
        except BrokerError as error:
            trial.note(_next(trial), False, error.message, error.cure)


async def _exchange(trial: _Trial, broker: Broker) -> None:
    """A retained message there and back. In 3.1.1 a refused publish is silent: only its arrival proves it."""
    wildcard = trial.names.filter(_TOPIC)
    rights = f"Give the user of MQTT_USERNAME the right to read and write {trial.names.base}/# (the broker's ACL)."
    await broker.subscribe([wildcard])
    try:
        await broker.publish(trial.topic, _PAYLOAD, retain=True)
        arrived = await trial.arrives(lambda message: message.payload == _PAYLOAD)
        if not arrived and broker.protocol != "5":
            detail = f"what is written to {trial.topic} does not come back: writing or reading is refused there"
            trial.note("publish", False, detail, rights)
            return
        trial.note("publish", True, f"{trial.topic} was accepted")
        if not arrived:
            trial.note("subscribe", False, f"nothing arrives from {wildcard}: reading is refused there", rights)
            return
        trial.note("subscribe", True, f"messages arrive from {wildcard}")
        await _retained(trial, broker, wildcard)
    finally:
        with suppress(BrokerError):
            await broker.publish(trial.topic, b"", retain=True)


async def _retained(trial: _Trial, broker: Broker, wildcard: str) -> None:
    trial.seen.clear()
    await broker.unsubscribe([wildcard])
    await broker.subscribe([wildcard])
    if await trial.arrives(lambda message: message.retain and message.payload == _PAYLOAD):
        trial.note("retained", True, "retained messages are kept, and sent to wildcard subscriptions")
        return
    trial.note(
        "retained",
        False,
        "a retained message is not sent to a new wildcard subscription",
        "Allow retained messages in the broker; RabbitMQ does not send them to wildcards: use Mosquitto.",
    )


def _encryption(trial: _Trial) -> None:
    if trial.options.password and not trial.options.tls and not is_loopback(trial.options.host):
        trial.note("encryption", None, "the password crosses the network unencrypted", "Set MQTT_TLS=true if it can.")


def _words(settings: Settings, protocol: str, subject: str) -> list[Finding]:
    """Who sends commands over MQTT 3.1.1 learns here, not from a refusal, that a word alone is not enough."""
    if settings.permission.mqtt_allow == "read" or protocol in {"", "5"}:
        return []
    detail = "over MQTT 3.1.1 commands are taken as JSON only: a word alone cannot be told from one that was stored"
    cure = "Send JSON with id and ts (docs/commands.md), or use a broker with MQTT 5 (Mosquitto 2)."
    return [Finding(subject, "commands", None, detail, cure)]


def _own_broker(settings: Settings) -> Finding:
    mosquitto, bind = embedded_mosquitto.find(), settings.mqtt.embedded_bind
    open_to_others = bind is not None and not is_loopback(bind)
    if mosquitto:
        where = f"at {bind}" if open_to_others else "for this machine only"
        return Finding("broker", "own", None, f"MQTT_HOST is not set: `serve` starts {mosquitto} {where}")
    cure = "Install mosquitto (apt install mosquitto), or set MQTT_HOST to a broker that runs."
    if open_to_others:
        return Finding("broker", "own", False, "MQTT_EMBEDDED_BIND needs mosquitto, which is not installed", cure)
    if importlib.util.find_spec("amqtt") is None:
        return Finding("broker", "own", False, "MQTT_HOST is not set, and neither mosquitto nor amqtt is there", cure)
    return Finding(
        "broker",
        "own",
        None,
        "MQTT_HOST is not set: `serve` runs amqtt inside its process, which forgets at exit",
        cure,
    )
