import threading
import time
from concurrent.futures import Future

import pytest

from mqtt_bridge.proxmox.limits import Breaker, TokenBucket
from mqtt_bridge.proxmox.threads import DaemonPool


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_bucket_lets_a_burst_through_then_makes_wait() -> None:
    clock = Clock()
    bucket = TokenBucket(60, clock)
    assert [bucket.reserve(0) for _ in range(60)] == [0.0] * 60
    assert bucket.reserve(0.5) is None
    assert bucket.reserve(5) == pytest.approx(1)
    assert bucket.reserve(5) == pytest.approx(2)
    clock.now += 10
    assert bucket.reserve(0) == 0.0


def test_a_refused_turn_costs_nothing() -> None:
    clock = Clock()
    bucket = TokenBucket(1, clock)
    bucket.reserve(0)
    for _ in range(10):
        assert bucket.reserve(1) is None
    clock.now += 60
    assert bucket.reserve(0) == 0.0


def test_no_limit() -> None:
    bucket = TokenBucket(0, Clock())
    assert {bucket.reserve(0) for _ in range(1000)} == {0.0}


def test_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(threshold=3)
    for _ in range(5):
        breaker.failure()
        breaker.failure()
        breaker.success()
    assert breaker.closed
    for _ in range(3):
        breaker.failure()
    assert breaker.state == "open"


def test_a_failed_probe_opens_it_again_and_waits_longer() -> None:
    breaker = Breaker(threshold=1, first_delay=1, max_delay=4)
    breaker.failure()
    delays = []
    for _ in range(4):
        delays.append(breaker.next_delay())
        breaker.probe()
        assert not breaker.closed
        breaker.failure()
        assert not breaker.closed
    for delay, most in zip(delays, (1, 2, 4, 4), strict=True):
        assert most / 2 <= delay <= most
    breaker.success()
    assert breaker.next_delay() <= 1


def test_pool_runs_no_more_than_its_size_at_once() -> None:
    pool = DaemonPool(3, "test")
    lock, running, peak = threading.Lock(), 0, 0

    def job() -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    futures: list[Future[None]] = [pool.submit(job) for _ in range(20)]
    for future in futures:
        future.result(5)
    pool.close()
    assert peak == 3
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(job)


def test_pool_hands_on_errors_and_goes_on() -> None:
    pool = DaemonPool(1, "test")
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(5)
    assert pool.submit(lambda: 7).result(5) == 7
    assert threading.active_count() < 20
    pool.close()
