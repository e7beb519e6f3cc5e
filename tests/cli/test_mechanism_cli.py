"""`jaxecon mechanism`: a small study end to end, its files, and mistakes without a traceback."""

import json

import jax
import numpy as np
import pytest

from jaxecon import mechanisms, sweeps
from jaxecon.mechanisms.priors import draw_allocation_types

SMALL = ["pool_size=32", "batch_size=16", "width=4", "depth=1", "attack_steps=2"]
SMALL += ["num_eval_types=8", "eval_restarts=1", "eval_steps=2"]


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "exs"


@pytest.fixture(scope="module")
def finished(jaxecon_command, study_folder):
    """Output of a small study of ExS at two weights."""
    settings = [part for name in SMALL for part in ("--config", name)]
    command = ["mechanism", "train", "exs", "--weights", "1,4", "--steps", "128", "--seeds", "1"]
    return jaxecon_command(*command, *settings, "--out", study_folder, "--json")


def test_a_study_prints_its_frontier_beside_the_rules(finished):
    status, out, _ = finished
    assert status == 0
    names = [point["name"] for point in json.loads(out)["frontier"]]
    learned, rules = names[:2], names[2:]
    assert sorted(learned) == ["weight 1", "weight 4"]
    assert sorted(rules) == ["equal_share", "partial_allocation", "proportional_fairness"]
    points = {point["name"]: point for point in json.loads(out)["frontier"]}
    assert points["equal_share"]["gain"][0] == 0.0, "no report moves an equal share"
    assert points["proportional_fairness"]["gain"][0] > 0.0


def test_picture_table_report_and_parameters_are_saved(finished, study_folder, jaxecon_command):
    for name in ("frontier.png", "results.parquet", "report.html", "run.json"):
        assert (study_folder / name).stat().st_size > 0
    assert "Frontier" in (study_folder / "report.html").read_text()
    mechanism = sweeps.load_mechanism(study_folder, config=1)
    types = draw_allocation_types(jax.random.key(0), 2, 2)
    allocation = mechanism(types).allocation
    assert (allocation >= 0).all()
    assert (allocation.sum(0) <= types.supplies * 1.000001).all()
    attack = mechanisms.exploitability(
        mechanism, types, key=jax.random.key(1), num_restarts=1, num_steps=2, num_random=2
    )
    assert np.isfinite(attack.relative_gain).all()


TINY_AUCTION = ["pool_size=32", "batch_size=16", "attack_steps=1", "hidden_sizes=[4]"]
TINY_AUCTION += ["num_eval_types=8", "eval_restarts=1", "eval_steps=2"]


def test_an_auctions_revenue_comes_with_both_estimates_of_regret(jaxecon_command, tmp_path):
    settings = [part for name in TINY_AUCTION for part in ("--config", name)]
    command = ["mechanism", "train", "regretnet", "--bidders", "2", "--items", "1"]
    command += ["--steps", "64", "--seeds", "1", "--judged", "2", *settings]
    status, out, err = jaxecon_command(*command, "--out", tmp_path / "run", "--json")
    assert status == 0, err
    summary = json.loads(out)
    (row,) = summary["auctions"]
    assert (row["config"], row["seed"]) == (0, 0)
    assert 0.0 < row["revenue"] < 1.0
    assert 0.0 <= row["regret_found"] <= row["regret_bound"] + 1e-9  # rounding
    assert row["regret_found_max"] <= row["regret_bound_max"] + 1e-9
    assert summary["frontier"][0]["name"] in ("weight 5", "config 0")
    stored = (tmp_path / "run" / "study.toml").read_text()
    assert 'mode = "log_ratio"' in stored, "the recipe is where a user starts"
    assert "pool_size = 32\n" in stored, "what the user says goes before the recipe"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "expff"], "Did you mean 'expf'"),
        (
            ["train", "rochetnet", "--bidders", "2", "--out", "runs/never"],
            "RochetNet must face 1 bidder, got 2; use RegretNet",
        ),
        (["train", "exs", "--weights", "1,two"], "--weights must be numbers such as 1,2,4"),
        (["train", "exs", "--config", "widht=3"], "Did you mean 'width'"),
        (["train", "exs", "--set", "learning_rate=0"], "learning_rate must be above 0"),
        (["attack", "equal_shares"], "Did you mean 'equal_share'"),
        (["attack", "equal_share", "--private", "demand"], "Did you mean 'demands'"),
    ],
)
def test_mistakes_come_with_a_way_out(jaxecon_command, arguments, message):
    status, _, err = jaxecon_command("mechanism", *arguments)
    assert status == 1
    assert message in err
    assert "Traceback" not in err


def test_attacking_a_rule_shows_what_it_achieves(jaxecon_command):
    command = ["attack", "equal_share", "--instances", "4", "--restarts", "1", "--steps", "1"]
    status, out, _ = jaxecon_command("mechanism", *command, "--json")
    row = json.loads(out)
    assert status == 0
    assert row["mean relative gain of a lie"] == 0.0
    assert 0.0 < row["efficiency"] <= 1.0


@pytest.mark.parametrize("command", ["train", "attack"])
def test_help_shows_examples(jaxecon_command, command):
    status, out, _ = jaxecon_command("mechanism", command, "--help")
    assert status == 0
    assert f"jaxecon mechanism {command}" in out
