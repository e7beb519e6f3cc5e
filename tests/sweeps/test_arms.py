"""Studies with arms: each is its own study, resumed on its own, and all are compared."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import rich.console

from jaxecon import sweeps
from jaxecon.sweeps import comparison
from jaxecon.sweeps.arms import arm_studies
from jaxecon.sweeps.comparison import Comparison

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
ARMS, RATE = [*TABLES["arms"]], "hparam/learning_rate"


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


def test_an_arm_that_cannot_learn_is_found_before_the_first_one_runs(tmp_path):
    arms = {"good": {}, "bad": {"algorithm": {"config": {"network": "exact"}}}}
    study = sweeps.load_study(TABLES | {"arms": arms})
    with pytest.raises(ValueError, match=r'arms\.bad: network must be "mlp" for Newsvendor-v0'):
        sweeps.run_arms(study, tmp_path / "none")
    assert not (tmp_path / "none").exists()


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


def test_arms_say_how_many_weights_they_train(folder):
    table = pd.read_parquet(folder / "arms.parquet")
    sizes = {json.loads((folder / arm / "run.json").read_text())["num_weights"] for arm in ARMS}
    assert set(table["weights"]) == sizes
    assert len(sizes) == 1, "activations have no weights"
    assert comparison.weights_note(comparison.load_comparison(folder)) == ""
    assert not [*folder.glob("*/symmetry*")], "no network is relaxed"


def test_validation_selects_and_test_is_told(folder):
    selected = comparison.selected_table(comparison.load_comparison(folder))
    assert [*selected["arm"]] == ARMS
    for row in selected.to_dict("records"):
        runs = pd.read_parquet(folder / row["arm"] / "results.parquet").query("evaluation == 1")
        means = runs.groupby("config")[["validation/return", "test/return"]].mean()
        assert row["config"] == means["validation/return"].idxmax()
        expected = means.loc[row["config"]]
        found = [row["validation"], row["test"]]
        np.testing.assert_allclose(found, expected, rtol=1e-6)  # float32
        assert row["learning_rate"] == runs.query(f"config == {row['config']}")[RATE].iloc[0]


def test_baselines_of_the_arms_are_rows_and_levels(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "two")
    known = {"rule $1": {"return": 0.5}, "unmeasured": {"length": 1.0}}
    for arm, best in zip(ARMS, (1.5, 2.5), strict=True):
        told = {"test": known | {"best": {"return": best}}, "validation": {"v": {"return": 9.0}}}
        (copied / arm / "baselines.json").write_text(json.dumps(told))
    before = (copied / "arms.png").read_bytes()
    table = comparison.compare_arms(copied)
    assert (copied / "arms.png").read_bytes() != before, "dashed lines are drawn"
    baselines = comparison.baselines_table(comparison.load_comparison(copied))
    assert [*zip(baselines["baseline"], baselines["final"], strict=True)] == [
        ("rule $1", 0.5), ("best (tanh)", 1.5), ("best (relu)", 2.5),
    ]  # fmt: skip
    console = rich.console.Console(width=160, file=io.StringIO())
    console.print(comparison.terminal_table(table, "title", baselines))
    printed = console.file.getvalue()
    assert "rule $1" in printed
    row = table.iloc[0]
    assert f"{row['final']:.4g} ({row['final_low']:.4g} to {row['final_high']:.4g})" in printed


def runs_of(economies):
    """Two configurations in each economy, of which validation prefers the second, in two arms."""
    rows = []
    for arm, economy, rate, seed in np.ndindex(2, len(economies), 2, 2):
        row = {"arm": ["small", "large"][arm], "config": 2 * economy + rate, "seed": seed}
        row |= {"evaluation": 0, "env_steps": 64, "hparam/env.fee": economies[economy], RATE: rate}
        score = 10.0 * arm - economies[economy] + rate + 0.01 * seed
        rows.append(row | {"validation/return": score, "test/return": -score})
    return pd.DataFrame(rows)


def test_every_economy_has_its_own_baselines_and_selection(tmp_path):
    fees = (0.0, 0.5)
    known = [{"test": {"rule": {"return": 4.0 - fee}}} for fee in fees for _ in range(2)]
    found = Comparison(
        "return", "test", runs_of(fees), {"small": 100, "large": 111}, {"small": known, "large": []}
    )
    found.baselines["large"] = known
    baselines = comparison.baselines_table(found)
    assert baselines.to_dict("records") == [
        {"baseline": "rule", "env.fee": 0.0, "final": 4.0},
        {"baseline": "rule", "env.fee": 0.5, "final": 3.5},
    ]
    selected = comparison.selected_table(found)
    assert [*zip(selected["arm"], selected["config"], selected["env.fee"], strict=True)] == [
        ("small", 1, 0.0), ("small", 3, 0.5), ("large", 1, 0.0), ("large", 3, 0.5),
    ]  # fmt: skip
    np.testing.assert_allclose(selected["test"], [-1.005, -0.505, -11.005, -10.505])
    assert comparison.arms_plot(found, tmp_path / "arms.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"a": 100, "b": 110}, ""),
        (
            {"a": 100, "b": 12_000},
            "more than 10% in the number of trained weights: a 100, b 12,000.",
        ),
        ({"a": 100, "b": None}, ""),
        ({"a": None}, ""),
    ],
    ids=["alike", "different", "one known", "none known"],
)
def test_a_difference_in_size_is_said_plainly(weights, said):
    found = Comparison("return", "test", pd.DataFrame(), weights, {})
    note = comparison.weights_note(found)
    assert said in note
    assert bool(said) == bool(note)


def test_unknown_numbers_of_weights_are_dashes():
    found = Comparison("return", "test", runs_of((0.0,)), {"small": None, "large": None}, {})
    table = comparison.arms_table(found)
    assert table["weights"].isna().all()
    console = rich.console.Console(width=160, file=io.StringIO())
    console.print(comparison.terminal_table(table, "title", pd.DataFrame()))
    assert "–" in console.file.getvalue()
