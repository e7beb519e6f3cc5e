"""`jaxecon bandit`: several policies as studies, one table and picture."""

import json

import pandas as pd

from jaxecon.algos.bandits import REGRETS


def test_policies_are_compared_and_kept(jaxecon_command, tmp_path):
    status, output, error = jaxecon_command(
        "bandit", "ts", "ucb1", "--seeds", 2, "--rounds", 60, "--set", "exploration=0.5",
        "--env", "num_arms=3", "--plot", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert status == 0, error
    report = json.loads(output[output.index("{") :])
    assert {row["policy"] for row in report["policies"]} == {"ts", "ucb1"}
    curves = pd.read_parquet(report["curves"])
    assert set(REGRETS) <= set(curves.columns)
    assert len(curves) == 2 * 2 * 20
    assert curves["round"].max() == 60
    rising = curves.sort_values("round").groupby(["policy", "seed"])["regret_clairvoyant"]
    assert (rising.diff().dropna() >= -1e-4).all()
    assert (tmp_path / "regret.png").stat().st_size > 10_000
    assert (tmp_path / "ts" / "results.parquet").is_file()


def test_a_wrong_policy_is_explained(jaxecon_command, tmp_path):
    status, _, error = jaxecon_command("bandit", "emfk", "--out", tmp_path)
    assert status == 1
    assert "Did you mean 'emkf'" in error
