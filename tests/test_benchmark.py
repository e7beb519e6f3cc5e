"""Measurements give complete, JSON-serialisable lines; how fast anything is, no test asks."""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon import benchmark
from jaxecon.envs.registry import make

BENCH = pathlib.Path(__file__).parent.parent / "bench"
COMMON = {"steps", "repeats", "steps_per_s", "spread", "compile_s", "device", "num_cores"}
TINY = {"seconds": 1e-4, "repeats": 2}


def load(name):
    """A script of bench/ as a module."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_line(line):
    """Keys, positive numbers in order, and JSON there and back."""
    assert set(line) >= COMMON | {"versions"}
    low, high = line["spread"]
    assert 0 < low <= line["steps_per_s"] <= high
    assert line["steps"] > 0
    assert line["versions"]["jax"] == jax.__version__
    assert json.loads(json.dumps(line)) == line


def test_measure_labels_its_line():
    line = benchmark.measure(lambda x: x @ x, jnp.eye(4), steps=3, repeats=2, bench="product")
    check_line(line)
    assert next(iter(line)) == "bench"
    assert (line["steps"], line["repeats"]) == (3, 2)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1, "repeats": 0}])
def test_measure_asks_for_positive_counts(wrong):
    with pytest.raises(ValueError, match="must be positive, got 0"):
        benchmark.measure(jnp.sin, jnp.ones(()), **wrong)


def test_rounds_fill_the_seconds_asked_for():
    assert benchmark.fitting_rounds(lambda rounds: 1e-3 * rounds, 1.0) == pytest.approx(1000, abs=1)
    assert benchmark.fitting_rounds(lambda rounds: 2.0 * rounds, 1.0) == 1


@pytest.mark.parametrize("mode", benchmark.RESET_MODES)
def test_throughput_line_of_each_reset_mode(mode):
    line = benchmark.environment_throughput("Cournot-v0", 3, reset_mode=mode, **TINY)
    check_line(line)
    assert line["reset_mode"] == mode
    assert line["resets"] == ("on_demand" if mode == "auto" else mode)
    assert (line["env"], line["num_envs"], line["num_agents"]) == ("Cournot-v0", 3, 2)
    assert line["steps"] % (3 * line["rollout_length"]) == 0, "agents must not count as steps"


@pytest.mark.parametrize("mode", ["ahead", "every_step"])
def test_throughput_of_a_gymnax_environment(mode):
    line = benchmark.environment_throughput("CartPole-v1", 2, reset_mode=mode, **TINY)
    check_line(line)
    assert line["num_agents"] == 1


def test_throughput_names_what_it_does_not_know():
    with pytest.raises(ValueError, match="on_demand"):
        benchmark.environment_throughput("Cournot-v0", 2, reset_mode="on_demnd")
    with pytest.raises(ValueError, match="num_envs must be positive, got 0"):
        benchmark.environment_throughput("Cournot-v0", 0)


@pytest.mark.parametrize("env_id", ["Cournot-v0", "Newsvendor-v0"])
def test_the_policy_depends_on_the_observation_and_stays_legal(env_id, key):
    env, env_params = make(env_id)
    weights = benchmark.linear_policy(key, env, env_params)
    obs = jax.random.normal(key, (2, *env.observation_space(env_params).shape))
    action = benchmark.linear_action(weights, env, env_params, obs)
    assert jax.vmap(env.action_space(env_params).contains)(action).all()
    assert not np.allclose(action[0], action[1])


@pytest.mark.parametrize(
    ("piece", "sizes"),
    [("weight_gradient", (4, 2)), ("shuffling", (6,)), ("backward_recursion", (5, 2))],
)
def test_pieces_compare_two_versions(piece, sizes):
    line = getattr(load("pieces"), piece)(*sizes, **TINY)
    assert json.loads(json.dumps(line)) == line
    assert line["ratio"] == line["baseline"]["microseconds"] / line["ours"]["microseconds"]
    assert line["ours"]["microseconds"] > 0


def test_calls_in_the_loop_depend_on_each_other():
    run = jax.jit(load("pieces").repeated(lambda carry: carry + 1))
    assert run(jnp.int32(3), jnp.int32(0)) == 3 * load("pieces").SCAN_LENGTH


@pytest.mark.parametrize("reference", ["gymnax_throughput", "gymnasium_throughput"])
def test_reference_lines_have_the_same_keys(reference):
    line = getattr(load("env_throughput"), reference)(2, **TINY)
    check_line(line)
    assert line["env"] == "CartPole-v1"
