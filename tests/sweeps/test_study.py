"""Study files: every mistake is named with the nearest valid name or the range it left."""

import math
import tomllib

import numpy as np
import pytest
import tomli_w

from jaxecon.sweeps.plan import make_plan
from jaxecon.sweeps.study import load_study

FILE = """
[study]
name = "tiny"
total_steps = 1_000
num_seeds = 2
num_evaluations = 3
num_configs = 4
[env]
id = "Cournot-v0"
static = { num_firms = 3 }
params = { unit_cost = 2 }
[algorithm]
config = { num_envs = 4, rollout_length = 16, hidden_sizes = [8] }
hparams = { gamma = 0.9 }
[search]
learning_rate = { log_uniform = [1e-4, 1e-2] }
"env.slope" = { choice = [0.5, 1.0] }
"""


def with_value(path, value):
    """The tables of FILE with one value set; `path` lists the keys that lead to it."""
    tables = tomllib.loads(FILE)
    table = tables
    for key in path[:-1]:
        table = table.setdefault(key, {})
    table[path[-1]] = value
    return tables


def test_a_file_and_its_tables_are_one_study(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(FILE)
    study = load_study(file)
    assert study == load_study(tomllib.loads(FILE)) == load_study(str(file))
    assert study.study.total_steps == 1000
    assert study.algorithm.id == "ppo"
    assert study.search["env.slope"].choice == (0.5, 1.0)


def test_a_resolved_study_reads_back_as_itself(tmp_path):
    study = load_study(tomllib.loads(FILE))
    file = tmp_path / "resolved.toml"
    file.write_text(tomli_w.dumps(study.resolved()))
    again = load_study(file)
    assert again == study
    assert again.resolved() == study.resolved()


def test_the_plan_has_one_row_per_configuration_and_seed():
    plan = make_plan(load_study(tomllib.loads(FILE)))
    assert plan.num_lanes == 8
    np.testing.assert_array_equal(plan.seeds, [0, 1] * 4)
    rate = plan.hparams["learning_rate"]
    np.testing.assert_array_equal(rate[::2], rate[1::2])
    np.testing.assert_array_equal(rate[::2], plan.configurations["learning_rate"].astype("f4"))
    assert (plan.hparams["gamma"] == np.float32(0.9)).all()
    assert plan.env_numbers["slope"].dtype == np.float32
    assert plan.env.num_firms == 3
    assert plan.splits["train"].unit_cost == 2.0


def test_total_steps_round_up_to_whole_iterations_between_evaluations():
    for total_steps, iterations in [(1, 1), (192, 1), (193, 2), (1000, 6)]:  # 3 x 4 x 16 = 192
        plan = make_plan(load_study(with_value(["study", "total_steps"], total_steps)))
        assert plan.iterations_per_evaluation == iterations
        assert plan.steps_per_evaluation == 64 * iterations
        assert (plan.hparams["total_steps"] == 192 * iterations).all()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["stduy"], {}, "Unknown key 'stduy'. Did you mean 'study'"),
        (
            ["study", "num_sedes"],
            3,
            "key 'study.num_sedes'. Did you mean 'study.num_seeds'",
        ),
        (["env", "parms"], {}, "'env.params'"),
        (["algorithm", "hparam"], {}, "Did you mean 'algorithm.hparams'"),
        (["executor", "stratgy"], "vmap", "Did you mean 'executor.strategy'"),
        (["search", "gamma"], {"unifrm": [0, 1]}, "Did you mean 'search.gamma.uniform'"),
        (["study", "num_seeds"], "three", "study.num_seeds: .*integer.*got 'three'"),
        (["study", "num_seeds"], 0, "study.num_seeds: .*greater than or equal to 1, got 0"),
        (["study", "num_seeds"], 1.5, "study.num_seeds: .*got 1.5"),
        (["study", "total_steps"], -5, "study.total_steps: .*got -5"),
        (["study", "sampler"], "bayes", "study.sampler: .*'grid', 'random' or 'sobol'"),
        (["study"], 3, "study: .*got 3"),
        (["env", "params"], {"slope": "steep"}, "env.params.slope: .*got 'steep'"),
        (["executor", "memory_fraction"], 0, "executor.memory_fraction: .*greater than 0"),
        (["search", "gamma"], {"uniform": [1.0]}, "search.gamma.uniform"),
        (["search", "gamma"], {"uniform": [1.0, 0.5]}, "search.gamma: .*low < high"),
        (["search", "gamma"], {}, "search.gamma: give exactly one of"),
    ],
)
def test_a_mistake_in_the_file_is_named(path, value, message):
    with pytest.raises(ValueError, match=message):
        load_study(with_value(path, value))


def test_every_mistake_is_reported_at_once():
    tables = with_value(["study", "num_sedes"], 3)
    del tables["study"]["name"]
    with pytest.raises(ValueError, match=r"study.name is missing") as error:
        load_study(tables)
    assert "num_seeds" in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["env", "id"], "Cournt-v0", "Unknown environment id 'Cournt-v0'. .*'Cournot-v0'"),
        (["env", "static"], {"num_firm": 2}, "Unknown keyword of Cournot-v0 .*'num_firms'"),
        (["env", "static"], {"num_firms": 0}, "num_firms must be .*got 0"),
        (["env", "params"], {"unit_cots": 1}, "environment parameter 'unit_cots'. .*'unit_cost'"),
        (["env", "params"], {"unit_cost": math.nan}, "env.params.unit_cost .*finite, got nan"),
        (["env", "params"], {"unit_cost": -math.inf}, "env.params.unit_cost .*finite, got -inf"),
        (["env", "params"], {"max_steps_in_episode": 2.5}, "max_steps_in_episode.*whole.*2.5"),
        (["algorithm", "id"], "pop", "Unknown algorithm 'pop'. Did you mean 'ppo'"),
        (["algorithm", "config", "num_env"], 4, "algorithm setting 'num_env'. .*'num_envs'"),
        (["algorithm", "config", "num_envs"], "four", "algorithm.config.num_envs: .*'four'"),
        (["algorithm", "config", "num_envs"], 0, "num_envs must be at least 1, got 0"),
        (["algorithm", "config", "num_minibatches"], 7, "must divide .* = 64, got 7"),
        (["algorithm", "config", "shuffle"], "none", "shuffle must be one of"),
        (["algorithm", "hparams", "gama"], 0.9, "hyperparameter 'gama'. Did you mean 'gamma'"),
        (["algorithm", "hparams", "gamma"], 1.5, "gamma must be at least 0 and at most 1, got 1.5"),
        (["algorithm", "hparams", "gamma"], math.nan, "gamma must be .*got nan"),
        (["algorithm", "hparams", "vf_coef"], math.inf, "vf_coef must be .*got inf"),
        (["algorithm", "hparams", "clip_eps"], 0.0, "clip_eps must be above 0, got 0"),
        (["search", "learning_rte"], {"choice": [0.1]}, "'learning_rte'. .*'learning_rate'"),
        (["search", "env.slop"], {"choice": [0.1]}, "'env.slop'. .*'env.slope'"),
        (["search", "slope"], {"choice": [0.1]}, "'slope'. .*'env.slope'"),
        (["search", "gae_lambda"], {"uniform": [1.1, 1.5]}, "gae_lambda must be .*at most 1"),
        (["search", "env.max_steps_in_episode"], {"uniform": [1, 9]}, "whole numbers"),
        (["study", "num_configs"], None, "needs num_configs"),
    ],
)
def test_a_name_or_number_that_does_not_fit_is_named_by_the_plan(path, value, message):
    study = load_study(with_value(path, value))
    with pytest.raises(ValueError, match=message):
        make_plan(study)


@pytest.mark.parametrize(
    ("env", "hparams", "message"),
    [
        ({"observation_noise": -1.0}, {}, "observation_noise must be"),
        ({"radius_high": 1.3}, {}, "radius_high must be"),
        ({}, {"max_radius": 1.0}, "max_radius must be above 0 and below 1, got 1"),
    ],
)
def test_ranges_that_an_environment_knows_of_are_checked(env, hparams, message):
    tables = {
        "study": {"name": "bandit", "total_steps": 10},
        "env": {"id": "PartiallyObservedLinearBandit-v0", "params": env},
        "algorithm": {"id": "bandit", "config": {"horizon": 10}, "hparams": hparams},
    }
    with pytest.raises(ValueError, match=message):
        make_plan(load_study(tables))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"env": {"params": {"prices": 1.0}}}, "env.params.prices is an array"),
        ({"search": {"env.prices": {"choice": [1.0]}}}, "search: env.prices is an array"),
    ],
)
def test_an_array_of_the_economy_is_not_a_number(table, message):
    study = tomllib.loads(FILE)["study"]
    env = {"id": "PortfolioTrading-v0", "static": {"prices": "synthetic"}} | table.get("env", {})
    with pytest.raises(ValueError, match=message):
        make_plan(load_study({"study": study, "env": env, "search": {}} | table | {"env": env}))


def test_a_number_is_fixed_or_searched_but_not_both():
    with pytest.raises(ValueError, match=r"learning_rate is searched and also fixed in algorithm"):
        make_plan(load_study(with_value(["algorithm", "hparams", "learning_rate"], 0.1)))
    with pytest.raises(ValueError, match=r"env.slope is searched and also fixed in env.params"):
        make_plan(load_study(with_value(["env", "params", "slope"], 2.0)))


def test_no_file_and_no_toml(tmp_path):
    with pytest.raises(FileNotFoundError, match="No study file at"):
        load_study(tmp_path / "absent.toml")
    file = tmp_path / "broken.toml"
    file.write_text("[study\nname = 1")
    with pytest.raises(ValueError, match=r"broken.toml is not valid TOML"):
        load_study(file)
