"""`jaxecon allocate`: a comparison as JSON, Parquet and picture, from a user's own table too."""

import json

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from jaxecon import sweeps
from jaxecon.cli.allocate import allocate
from jaxecon.data.sites import load_sites
from jaxecon.envs import make
from jaxecon.sweeps.allocation import load_allocator

app = typer.Typer()
app.command()(allocate)


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_users_table_is_compared_and_kept(tmp_path):
    table = tmp_path / "pantries.csv"
    table.write_text("site,mean,std,arrival_probability\na,10,2,0.5\nb,20,5,1\nc,5,1,0.2\n")
    result = run(
        "--demand", table, "--steps", 4, "--episodes", 16, "--rules", "saffe_d,greedy",
        "--plot", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (line,) = json.loads(result.output)
    assert [row["rule"] for row in line["rules"]] == ["saffe_d", "greedy"]
    kept = pd.read_parquet(line["table"])
    assert set(kept["rule"]) == {"saffe_d", "greedy"}
    paired = kept[(kept["rule"] == "saffe_d") & (kept["metric"] == "utilisation")].iloc[0]
    assert paired["difference"] == 0.0
    assert paired["low"] <= paired["mean"] <= paired["high"]
    assert (tmp_path / "out" / "pantries.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--setting", "sparce"], "Unknown setting 'sparce'"),
        (["--rules", "saffed"], "Did you mean 'saffe_d'"),
        (["--demand", "nowhere.csv"], "No table of sites"),
    ],
)
def test_mistakes_are_explained(arguments, message):
    result = run(*arguments, "--episodes", 4, "--agents", 3, "--steps", 2)
    assert message in str(result.exception)


STUDY = """
[study]
name = "tiny"
num_seeds = 1
total_steps = 16
sampler = "grid"
metric = "log_nash_gap"

[env]
id = "SequentialAllocation-v0"

[env.static]
num_agents = 3
num_steps = 4
action = "simplex"

[algorithm]
id = "ppo"

[algorithm.config]
num_envs = 4
rollout_length = 4
num_epochs = 1
num_minibatches = 1
hidden_sizes = [4]
num_eval_episodes = 4

[search]
learning_rate = { grid = [0.001, 0.002] }
"""


def test_trained_policies_play_the_same_draws(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    sweeps.run_study(sweeps.load_study(tmp_path / "study.toml"), tmp_path / "tiny")
    result = run(
        "--setting", "sparse_symmetric", "--agents", 3, "--steps", 4, "--episodes", 16,
        "--rules", "saffe_d", "--policy", tmp_path / "tiny", "--policy", f"{tmp_path / 'tiny'}:1",
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    (line,) = json.loads(result.output)
    assert {row["rule"] for row in line["rules"]} == {"saffe_d", "tiny", "tiny:1"}
    kept = pd.read_parquet(line["table"])
    learned = kept[(kept["rule"] == "tiny") & (kept["metric"] == "log_nash_gap")].iloc[0]
    assert learned["mean"] < 0.0
    assert learned["difference_low"] <= learned["difference"] <= learned["difference_high"]
    with pytest.raises(ValueError, match="config must be between 0 and 1, got 7"):
        load_allocator(tmp_path / "tiny", 7)


def test_an_unknown_number_is_named(tmp_path):
    result = run("--set", "budgett=3", "--episodes", 4, "--agents", 3, "--steps", 2)
    assert "Did you mean 'budget'" in str(result.exception)
    with pytest.raises(ValueError, match="weight must be of the shape"):
        make("SequentialAllocation-v0", num_agents=5, weight=np.ones(4))
    table = tmp_path / "wide.csv"
    table.write_text("site,mean,std\na,10,2,5\nb,20,3,6\n")
    with pytest.raises(ValueError, match="more fields than its header"):
        load_sites(table)
