"""`jaxecon bandit`: several policies as studies, one table and picture."""

import json

import pandas as pd
import pytest

from jaxecon.envs.bandits import REGRETS, make_dynamical_bandit, make_restless_bandit
from jaxecon.sweeps.bandits import bandit_study, default_policies


def test_policies_are_compared_and_kept(jaxecon_command, tmp_path):
    status, output, error = jaxecon_command(
        "bandit", "ts", "ucb1", "ts", "--seeds", 2, "--rounds", 61, "--set", "exploration=0.5",
        "--env", "num_arms=3", "--plot", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert status == 0, error
    report = json.loads(output[output.index("{") :])
    assert {row["policy"] for row in report["policies"]} == {"ts", "ucb1"}
    curves = pd.read_parquet(report["curves"])
    assert set(REGRETS) <= set(curves.columns)
    for _, rows in curves.groupby(["policy", "seed"]):  # every fourth round, and the last
        assert rows["round"].tolist() == [*range(4, 61, 4), 61]
    rising = curves.sort_values("round").groupby(["policy", "seed"])["regret_clairvoyant"]
    assert (rising.diff().dropna() >= -1e-4).all()
    assert (tmp_path / "regret.png").stat().st_size > 10_000
    assert (tmp_path / "ts" / "results.parquet").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ts", "emfk"], "Did you mean 'emkf'"),
        (["ts", "--on", "Cournot-v0"], "Cournot-v0 offers no num_arms"),
        (["--on", "Cournot-v0"], "Cournot-v0 offers no num_arms"),
        (["ts", "--set", "env.observation_noise=-1"], "observation_noise must be positive"),
        (["dynlin_ucb", "--set", "max_radius=1.0"], "max_radius must be above 0 and below 1"),
        (["ts", "--config", "horizon=10"], "horizon must be 4000"),
        (["whittle"], "policy must be one of emkf"),
    ],
)
def test_what_cannot_run_is_explained_before_anything_runs(
    jaxecon_command, tmp_path, arguments, message
):
    status, _, error = jaxecon_command("bandit", *arguments, "--out", tmp_path / "runs")
    assert status == 2
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_default_policies_fit_the_bandit():
    assert default_policies(make_restless_bandit()[0]) == ("whittle", "myopic", "random")
    assert "dynlin_ucb" in default_policies(make_dynamical_bandit()[0])
    assert bandit_study("ts", num_rounds=21)["study"]["num_evaluations"] == 11
