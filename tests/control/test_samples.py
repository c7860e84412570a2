"""That every action has orders to be tested with, and that these are ones that would be carried out."""

import asyncio

import pytest

from mqtt_bridge.actions import ACTIONS
from tests.control.samples import ORDERS, SAMPLES, planned
from tests.control.world import world


def test_every_action_has_samples() -> None:
    assert set(ACTIONS) == set(SAMPLES), "add it to tests/control/samples.py: then all properties hold for it too"
    assert all(SAMPLES.values())


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_a_sample_makes_sense(action: str, number: int) -> None:
    sample = SAMPLES[action][number]
    plan = asyncio.run(planned(world().clients(sample.overlay), action, sample))
    assert (plan.problem, plan.nothing) == (None, None)
    assert plan.steps
