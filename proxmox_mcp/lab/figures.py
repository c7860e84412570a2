"""Figures that move: deterministic waves of the clock, computed when somebody asks, without timers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .state import Guest, Load, Node, Storage

_SLOW = math.tau / 3600
_FAST = math.tau / 420


def jitter(seed: float, tick: int) -> float:
    """Give a number in [-1, 1) that looks random and is always the same for a seed and a tick."""
    mixed = (int(seed * 1_000_003) * 2_654_435_761 + tick * 40_503) & 0xFFFFFFFF
    mixed ^= mixed >> 15
    mixed = (mixed * 0x2C1B3C6D) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 12)) & 0xFFFF) / 0x8000 - 1


def cpu(load: Load, now: float) -> float:
    """Share of the cores in use, 0 to 1."""
    wave = 1 + 0.35 * math.sin(now * _SLOW + load.phase) + 0.25 * math.sin(now * _FAST + 2 * load.phase)
    return max(0.0005, min(0.995, load.cpu * (wave + 0.2 * jitter(load.phase, int(now / 10)))))


def memory(load: Load, total: int, now: float) -> int:
    """Bytes in use."""
    share = load.memory * (1 + 0.05 * math.sin(now * _SLOW / 2 + load.phase))
    return int(total * min(0.98, share)) & ~0xFFF


def counter(rate: float, phase: float, age: float) -> int:
    """Bytes since the start: the integral of a wave around `rate`, so it never falls."""
    return int(rate * (age + 0.8 * (math.sin(age * _FAST + phase) - math.sin(phase)) / _FAST))


KEYS = (
    "cpu", "mem", "memhost", "disk", "netin", "netout", "diskread", "diskwrite", "uptime",
    "maxcpu", "maxmem", "maxdisk",
)  # fmt: skip
"""Figures of a guest as `/cluster/resources` names them, in the order of `numbers`."""


def numbers(one: Guest, now: float, maxdisk: int) -> tuple[float, ...]:
    load, total = one.load, one.memory
    if not one.running:
        return (0, 0, 0, 0, 0, 0, 0, 0, 0, one.cores, total, maxdisk)
    age = max(0.0, now - one.started_at)
    used = memory(load, total, now)
    virtual = one.kind == "qemu"
    return (
        0 if one.paused else round(cpu(load, now), 6),
        used,
        int(used * 1.06) if virtual else used,
        0 if virtual else int(maxdisk * (0.2 + 0.5 * load.memory)),
        counter(load.network, load.phase, age),
        counter(load.network * 0.4, load.phase + 1, age),
        counter(load.disk, load.phase + 2, age),
        counter(load.disk * 0.7, load.phase + 3, age),
        int(age),
        one.cores,
        total,
        maxdisk,
    )


def guest(one: Guest, now: float, maxdisk: int) -> dict[str, float]:
    return dict(zip(KEYS, numbers(one, now, maxdisk), strict=True))


def node(one: Node, now: float) -> dict[str, float]:
    """Figures of a node as `/cluster/resources` names them."""
    return {
        "cpu": round(cpu(one.load, now), 6),
        "maxcpu": one.cores,
        "mem": memory(one.load, one.memory, now),
        "maxmem": one.memory,
        "disk": int(one.disk * 0.18 + (now % 86_400) * 2_000),
        "maxdisk": one.disk,
        "uptime": max(0, int(now - one.booted_at)),
    }


def storage_used(one: Storage, now: float) -> int:
    """Bytes in use."""
    if one.filled is not None:
        return int(one.total * one.filled)
    return min(one.total, int(one.total * one.used + one.growth * max(0.0, now - one.since)))
