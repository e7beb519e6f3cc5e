"""Studies with arms: each is its own study, resumed on its own, and all are compared."""

import numpy as np
import pandas as pd
import pytest

from jaxecon import sweeps
from jaxecon.sweeps.arms import arm_studies

TABLES = {
    "study": {"name": "two", "num_seeds": 3, "total_steps": 64, "num_evaluations": 2},
    "env": {"id": "Newsvendor-v0"},
    "algorithm": {
        "config": {"num_envs": 4, "rollout_length": 8, "hidden_sizes": [4], "num_eval_episodes": 4}
    },
    "search": {"learning_rate": {"grid": [1e-3, 1e-2]}},
    "arms": {
        "tanh": {},
        "relu": {"algorithm": {"config": {"activation": "relu"}}},
    },
}
TABLES["study"]["sampler"] = "grid"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sweeps.run_arms(sweeps.load_study(TABLES), tmp_path_factory.mktemp("runs") / "two")


def test_an_arm_is_the_study_with_its_own_settings(folder, tmp_path):
    alone = {name: table for name, table in TABLES.items() if name != "arms"}
    sweeps.run_study(sweeps.load_study(alone), tmp_path / "alone")
    results = [path / "results.parquet" for path in (tmp_path / "alone", folder / "tanh")]
    pd.testing.assert_frame_equal(*map(pd.read_parquet, results))
    other = pd.read_parquet(folder / "relu" / "results.parquet")
    assert not np.allclose(other["test/return"], pd.read_parquet(results[0])["test/return"])


def test_the_comparison_has_means_and_intervals_over_seeds(folder):
    table = pd.read_parquet(folder / "arms.parquet")
    assert [*zip(table["arm"], table["config"], strict=True)] == [
        ("relu", 0), ("tanh", 0), ("relu", 1), ("tanh", 1),
    ]  # fmt: skip
    np.testing.assert_allclose(table["learning_rate"], [1e-3, 1e-3, 1e-2, 1e-2])
    runs = pd.read_parquet(folder / "tanh" / "results.parquet").query("config == 1")
    row = table[(table["arm"] == "tanh") & (table["config"] == 1)].iloc[0]
    last = runs[runs["evaluation"] == 1]["test/return"]
    means = [last.mean(), runs["test/return"].mean()]
    np.testing.assert_allclose([row["final"], row["area"]], means, rtol=1e-6)  # float32
    half = 4.302653 * last.std() / 3**0.5  # t quantile at 2 degrees of freedom
    np.testing.assert_allclose(row["final_high"] - row["final"], half, rtol=1e-4)
    assert (folder / "arms.png").stat().st_size > 0


def test_arms_that_are_finished_are_kept_when_the_rest_goes_on(folder):
    file = folder / "relu" / "results.parquet"
    before = file.stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="jaxecon report"):
        sweeps.run_arms(sweeps.load_study(TABLES), folder)
    (folder / "arms.json").unlink()  # as an interruption after the last arm would leave it
    sweeps.run_arms(sweeps.load_study(TABLES), folder)
    assert file.stat().st_mtime_ns == before
    assert (folder / "arms.json").is_file()


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"algorithm": {"config": {"activation": "relo"}}}, r"arms\.odd: .*relo"),
        ({"search": {}}, r"arms\.odd\.search"),
        ({"env": {"id": "Newsvendr-v0"}}, r"arms\.odd: .*Newsvendor-v0"),
    ],
    ids=["value", "table", "environment"],
)
def test_a_mistake_names_the_arm(arm, message):
    with pytest.raises(ValueError, match=message):
        arm_studies(sweeps.load_study(TABLES | {"arms": {"odd": arm}}))


def test_one_run_has_no_arms():
    with pytest.raises(ValueError, match="run_arms"):
        sweeps.run_study(sweeps.load_study(TABLES))
