"""gymnax's own environments under the contract: what holds, and exactly what does not, and why.

The table pins both. If a new gymnax release mends one of these, the test says so.
"""

import pytest

import jaxecon
from jaxecon.testing import CHECKS, check_environment

# true of all of them, so kept out of the table
IDENTITY = "static_environment"  # compared by identity: a second `make` compiles a second time

WEAK = "{} is a weakly typed Python number after reset and strong after step: step compiles twice"
DTYPE = "the space says {}, the observation is {}"

KNOWN_FAILURES = {
    "Acrobot-v1": {},
    "BernoulliBandit-misc": {
        "reward": "an int32, from an indicator",
        "steady_signature": WEAK.format("last_action"),
    },
    "Breakout-MinAtar": {},
    "CartPole-v1": {},
    "Catch-bsuite": {"spaces_contain": DTYPE.format("int32", "float32")},
    "DeepSea-bsuite": {"natural_ending": "total_bad_episodes is carried into the next episode"},
    "DiscountingChain-bsuite": {"steady_signature": WEAK.format("context")},
    "FourRooms-misc": {"spaces_contain": DTYPE.format("float32", "int32")},
    "FrozenLake-misc": {},
    "MemoryChain-bsuite": {"spaces_contain": "the query entry is -1, below the bound 0"},
    "MountainCar-v0": {"steady_signature": WEAK.format("velocity")},
    "MountainCarContinuous-v0": {"steady_signature": WEAK.format("velocity")},
    "Pendulum-v1": {"steady_signature": WEAK.format("last_u")},
    "UmbrellaChain-bsuite": {
        "reward": "an int32",
        "steady_signature": WEAK.format("total_regret"),
    },
}

# a word of the message that shows the failure is the one the table explains
EVIDENCE = {
    ("BernoulliBandit-misc", "reward"): "int32[]",
    ("BernoulliBandit-misc", "steady_signature"): "state.last_action: int32[] (weak) after reset",
    ("Catch-bsuite", "spaces_contain"): "reset obs is float32[10, 5], not int32[10, 5]",
    ("DeepSea-bsuite", "natural_ending"): "total_bad_episodes",
    ("DiscountingChain-bsuite", "steady_signature"): "state.context: int32[] (weak) after reset",
    ("FourRooms-misc", "spaces_contain"): "reset obs is int32[4], not float32[4]",
    ("MemoryChain-bsuite", "spaces_contain"): "-1.], outside",
    ("MountainCar-v0", "steady_signature"): "state.velocity: float32[] (weak) after reset",
    ("MountainCarContinuous-v0", "steady_signature"): "state.velocity: float32[] (weak)",
    ("Pendulum-v1", "steady_signature"): "state.last_u: float32[] (weak) after reset",
    ("UmbrellaChain-bsuite", "reward"): "int32[]",
    ("UmbrellaChain-bsuite", "steady_signature"): "state.total_regret: int32[] (weak)",
}


@pytest.mark.usefixtures("standard_promotion")  # FourRooms mixes dtypes when it is built
@pytest.mark.parametrize("env_id", sorted(KNOWN_FAILURES))
def test_a_gymnax_environment_fails_exactly_the_checks_known(env_id):
    env, env_params = jaxecon.make(env_id)
    report = check_environment(env, env_params, num_steps=32, raise_on_failure=False)
    assert set(report.failures) == {IDENTITY, *KNOWN_FAILURES[env_id]}, str(report)
    for name in KNOWN_FAILURES[env_id]:
        assert EVIDENCE[env_id, name] in report.failures[name]


def test_every_known_failure_has_a_reason_and_evidence():
    listed = {(env_id, name) for env_id, known in KNOWN_FAILURES.items() for name in known}
    assert listed == set(EVIDENCE)
    assert {name for _, name in listed} <= set(CHECKS)


def test_differentiable_gymnax_environments_are_asked_for_gradients():
    """Pendulum declares gradients, so they are checked; CartPole does not, so they are not."""
    names = ["finite_gradients", "gradients_flow"]
    reports = {
        env_id: check_environment(*jaxecon.make(env_id), checks=names, num_steps=8)
        for env_id in ("CartPole-v1", "Pendulum-v1")
    }
    skipped = {env_id: [r.skipped for r in report.results] for env_id, report in reports.items()}
    assert skipped == {"CartPole-v1": [True, True], "Pendulum-v1": [False, False]}
