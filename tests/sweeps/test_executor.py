"""The executor: one program for any study, results that depend on the configuration alone."""

import contextlib
import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from jaxecon import devices, sweeps
from jaxecon.algos.evaluation import evaluate_policy
from jaxecon.sweeps import executor as executor_module
from jaxecon.sweeps.executor import build_executor
from jaxecon.sweeps.plan import make_plan

RATES, GAMMAS = [1e-3, 3e-3, 1e-2], [0.9, 0.99]
KEYS = ["hparam/learning_rate", "hparam/gamma", "seed", "evaluation"]


def make_study(search=None, *, executor=None, **settings):
    """A study of Cournot-v0 that takes milliseconds once compiled; a grid unless told otherwise."""
    study = {"name": "tiny", "total_steps": 192, "num_evaluations": 3, "num_seeds": 2}
    config = {"num_envs": 4, "rollout_length": 16, "hidden_sizes": [8], "num_eval_episodes": 4}
    grid = {"learning_rate": {"grid": RATES}, "gamma": {"grid": GAMMAS}}
    return sweeps.load_study(
        {
            "study": study | {"sampler": "grid"} | settings,
            "env": {"id": "Cournot-v0", "params": {"max_steps_in_episode": 10}},
            "algorithm": {"config": config},
            "search": grid if search is None else search,
            "executor": executor or {},
        }
    )


@pytest.fixture(scope="module", autouse=True)
def optax_promotion():
    """optax raises floats to integer powers, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@contextlib.contextmanager
def counted(monkeypatch):
    """Counts compilations, from JAX's own events, and traces of a lane's segment."""
    counts = {"compilations": 0, "traces": 0}
    plain = executor_module.lane_segment

    def on_event(name, seconds, **_):
        counts["compilations"] += name == "/jax/core/compile/backend_compile_duration"

    def segment(*args):
        counts["traces"] += 1
        return plain(*args)

    monkeypatch.setattr(executor_module, "lane_segment", segment)
    jax.monitoring.register_event_duration_secs_listener(on_event)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(on_event)


def read(run_dir):
    return pd.read_parquet(run_dir / "results.parquet")


@pytest.fixture(scope="module")
def grid_run(tmp_path_factory):
    """Folder of the whole grid, 6 configurations x 2 seeds, under "sequential"."""
    study = make_study(executor={"strategy": "sequential"})
    return sweeps.run_study(study, tmp_path_factory.mktemp("grid") / "run")


def assert_same_rows(found, reference):
    """Rows of `found` equal those of `reference` with the same hyperparameters, bit for bit."""
    index = pd.MultiIndex.from_frame(found[KEYS])
    expected = reference.set_index(KEYS).loc[index].drop(columns="config").reset_index()
    found = found[expected.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_a_study_is_traced_once_and_compiled_once(tmp_path, monkeypatch, grid_run):
    with counted(monkeypatch) as counts:
        run_dir = sweeps.run_study(make_study(), tmp_path / "run")
    assert counts == {"compilations": 1, "traces": 1}
    record = sweeps.runner.RunFolder.open(run_dir).read_json("run.json")
    assert record["num_traces"] == record["num_compilations"] == 1
    assert read(run_dir).equals(read(grid_run)), "the same study must give the same numbers"


def test_a_thousand_configurations_are_still_one_program(monkeypatch):
    search = {"learning_rate": {"log_uniform": [1e-4, 1e-2]}, "gamma": {"uniform": [0.9, 1.0]}}
    random = {"sampler": "random", "num_seeds": 1}
    large = make_plan(make_study(search, num_configs=1000, **random))
    small = make_plan(make_study(search, num_configs=3, **random))
    last = large.num_lanes - 1
    with counted(monkeypatch) as counts:
        program = build_executor(large)
        width = program.lanes_per_wave
        results = {}
        for start in (0, width, last + 1 - width):
            lanes = program.lane_inputs(np.arange(start, start + width))
            _, results[start] = program.run(program.initial_state(), lanes, 0)
    assert large.num_lanes == 1000
    assert counts == {"compilations": 1, "traces": 1}
    assert program.num_traces == program.num_compilations == 1
    companion = build_executor(small)
    lanes = companion.lane_inputs(np.zeros(width, int))
    _, alone = companion.run(companion.initial_state(), lanes, 0)
    for name in program.metric_names:
        assert np.asarray(results[0][name])[0] == np.asarray(alone[name])[0], name


@pytest.mark.parametrize(
    "grid",
    [
        {"learning_rate": [RATES[2]], "gamma": [GAMMAS[1]]},  # alone
        {"learning_rate": RATES[:0:-1], "gamma": GAMMAS[::-1]},  # elsewhere in the study
        {"gamma": [0.5, *GAMMAS], "learning_rate": [*RATES, 1e-1]},  # other companions
    ],
)
@pytest.mark.parametrize("num_seeds", [2, 1])
def test_a_configuration_has_its_result_whatever_runs_beside_it(
    grid_run, tmp_path, grid, num_seeds
):
    """With one seed, a grid of odd size also leaves a device idle in the last wave."""
    search = {name: {"grid": values} for name, values in grid.items()}
    study = make_study(search, num_seeds=num_seeds, executor={"strategy": "sequential"})
    found = read(sweeps.run_study(study, tmp_path / "run"))
    reference = read(grid_run)
    shared = found["hparam/learning_rate"].isin(RATES) & found["hparam/gamma"].isin(GAMMAS)
    assert shared.sum() == num_seeds * 3 * sum(
        rate in RATES and gamma in GAMMAS
        for rate in grid["learning_rate"]
        for gamma in grid["gamma"]
    )
    assert_same_rows(found[shared], reference)


def test_one_device_and_two_give_the_same_numbers(grid_run, tmp_path, monkeypatch):
    first = jax.devices()[:1]
    assert len(jax.devices()) > 1, "conftest.py asks for two"
    monkeypatch.setattr(jax, "devices", lambda *_: first)
    study = make_study(executor={"strategy": "sequential"})
    run_dir = sweeps.run_study(study, tmp_path / "run")
    monkeypatch.undo()
    assert sweeps.runner.RunFolder.open(run_dir).read_json("run.json")["lanes_per_wave"] == 1
    assert read(run_dir).equals(read(grid_run))


def test_a_batch_of_lanes_agrees_with_one_at_a_time(grid_run, tmp_path, monkeypatch):
    """At the first evaluation: batched products sum in another order, and learning amplifies it.

    A float32 rounding error of 1e-7 grows with every update, so that later evaluations of the two
    are runs of equal distribution but not of equal numbers.
    """
    study = make_study(executor={"strategy": "vmap"})
    program = build_executor(make_plan(study))
    assert program.lanes_per_wave == 12, "all lanes at once where memory allows"
    _, reported = program.run(program.initial_state(), program.lane_inputs(np.arange(12)), 0)
    one_at_a_time = read(grid_run).query("evaluation == 0")
    for name in program.metric_names:
        np.testing.assert_allclose(
            reported[name], one_at_a_time[name], rtol=1e-4, atol=1e-5, err_msg=name
        )

    needed = program.memory_bytes
    monkeypatch.setattr(devices, "memory_limit", lambda device: int(2 * 0.7 * needed / 0.8))
    narrow = build_executor(make_plan(study))
    assert narrow.lanes_per_wave < 12
    assert narrow.memory_bytes <= 0.7 * needed
    assert narrow.num_compilations > 1, "the record must not hide the attempts"


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"strategy": "sequential"}, "Reduce num_envs, .*raise executor.memory_fraction"),
        (
            {"strategy": "vmap", "lanes_per_device": 6},
            "set executor.lanes_per_device below 6, raise executor.memory_fraction",
        ),
    ],
)
def test_a_study_that_does_not_fit_says_what_it_needs(settings, remedy):
    plan = make_plan(make_study(executor=settings | {"memory_fraction": 1e-9}))
    with pytest.raises(MemoryError, match=r"needs [\d,]+ MiB per device for \d lane.*0 MiB may be"):
        build_executor(plan)
    with pytest.raises(MemoryError, match=remedy):
        build_executor(plan)


def test_an_unknown_metric_names_the_nearest(tmp_path):
    study = make_study(metric="retrun")
    with pytest.raises(ValueError, match=r"Unknown metric 'retrun'. Did you mean 'return'"):
        sweeps.run_study(study, tmp_path / "run")


def test_a_saved_policy_plays_as_it_was_evaluated(grid_run):
    study = sweeps.load_study(grid_run / "study.toml")
    plan = make_plan(study)
    config, seed = 4, 1
    act = sweeps.load_policy(grid_run, config, seed)
    key = jax.random.fold_in(jax.random.key(study.study.seed), seed)
    key_evaluation = jax.random.fold_in(jax.random.split(key, 3)[2], plan.num_evaluations - 1)
    key_test = jax.random.split(key_evaluation, 2)[1]
    played = jax.jit(
        lambda key: evaluate_policy(key, act, plan.env, plan.splits["test"], num_episodes=4)
    )(key_test)
    row = read(grid_run).query(f"config == {config} and seed == {seed}").iloc[-1]
    for name, value in played.items():
        # another program may fuse products otherwise: float32 rounding over a 10-step episode
        np.testing.assert_allclose(value, row[f"test/{name}"], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("config", "seed"), [(6, 0), (-1, 0), (0, 2)])
def test_a_policy_that_the_study_does_not_have_is_refused(grid_run, config, seed):
    with pytest.raises(ValueError, match=r"(config|seed) must be between 0 and [15], got"):
        sweeps.load_policy(grid_run, config, seed)


def test_the_plan_of_a_study_is_not_changed_by_running_it(grid_run):
    study = make_study(executor={"strategy": "sequential"})
    assert sweeps.load_study(grid_run / "study.toml") == study
    assert dataclasses.is_dataclass(make_plan(study))
