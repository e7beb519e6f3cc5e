"""Statistics against textbook numbers, brute-force definitions and the reference library."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxecon.sweeps import statistics

finite = st.floats(-1e3, 1e3, allow_subnormal=False)


def table(scores, test=None, hparams=None, num_evaluations=2):
    """Results with scores [configs, seeds] at the last evaluation and -100 before it."""
    scores = np.asarray(scores, dtype=float)
    test = scores if test is None else np.asarray(test, dtype=float)
    rows = []
    for config, seed in np.ndindex(scores.shape):
        for evaluation in range(num_evaluations):
            last = evaluation == num_evaluations - 1
            row = {"config": config, "seed": seed, "evaluation": evaluation}
            row |= {f"hparam/{name}": values[config] for name, values in (hparams or {}).items()}
            row["env_steps"] = 1000 * (evaluation + 1)
            row["validation/return"] = scores[config, seed] if last else -100.0
            row["test/return"] = test[config, seed] if last else -100.0
            rows.append(row)
    return pd.DataFrame(rows)


def test_mean_interval_matches_a_hand_computed_one():
    # mean 3, s = sqrt(2.5), t_{4, .975} = 2.776445 from a printed table
    half = 2.776445 * np.sqrt(2.5) / np.sqrt(5)
    interval = statistics.mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_allclose(interval, (3.0, 3.0 - half, 3.0 + half), rtol=1e-6)


@given(st.lists(finite, min_size=2, max_size=12), st.floats(0.5, 0.99))
def test_mean_interval_matches_the_reference_library(values, confidence):
    spread = stats.sem(values)
    interval = statistics.mean_interval(values, confidence)
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * spread
    expected = (np.mean(values), np.mean(values) - half, np.mean(values) + half)
    np.testing.assert_allclose(interval, expected, rtol=1e-7, atol=1e-7)


def test_t_intervals_cover_the_mean_as_often_as_they_claim():
    draws = np.random.default_rng(0).normal(2.0, 3.0, (2000, 4))
    intervals = np.array([statistics.mean_interval(row, 0.9) for row in draws])
    coverage = np.mean((intervals[:, 1] <= 2.0) & (intervals[:, 2] >= 2.0))
    assert abs(coverage - 0.9) < 4 * np.sqrt(0.09 / 2000)  # four binomial standard errors


def test_one_seed_has_a_mean_without_limits_and_a_diverged_seed_has_nothing():
    assert statistics.mean_interval([7.0])[0] == 7.0
    assert np.isnan(statistics.mean_interval([7.0])[1:]).all()
    for values in ([1.0, np.nan], [1.0, np.inf], []):
        assert np.isnan(statistics.mean_interval(values)).all()


@given(st.lists(finite, min_size=1, max_size=30))
def test_interquartile_mean_is_the_trimmed_mean(values):
    expected = stats.trim_mean(values, 0.25)
    np.testing.assert_allclose(statistics.interquartile_mean(values), expected, atol=1e-9)


def test_interquartile_mean_ignores_outliers_but_not_divergence():
    assert statistics.interquartile_mean([-1e9, 1.0, 3.0, 1e9]) == 2.0
    assert np.isnan(statistics.interquartile_mean([1.0, np.nan, 2.0, 3.0]))
    assert np.isnan(statistics.interquartile_mean([]))
    rows = np.array([[1.0, 2.0, 3.0, 100.0], [0.0, 0.0, 0.0, np.nan]])
    by_row = statistics.interquartile_mean(rows, axis=1)
    assert by_row[0] == 2.5
    assert np.isnan(by_row[1])


def test_stratified_bootstrap_agrees_with_every_possible_resample():
    """Two strata of two seeds have 16 equally likely resamples: quantiles are known exactly."""
    strata = np.array([[0.0, 1.0], [4.0, 10.0]])
    pairs = [list(itertools.product(stratum, repeat=2)) for stratum in strata]
    exact = [stats.trim_mean([*a, *b], 0.25) for a, b in itertools.product(*pairs)]
    interval = statistics.stratified_bootstrap_interval(strata, 0.8, num_resamples=20_000)
    assert interval.estimate == stats.trim_mean(strata.ravel(), 0.25)
    # With so few outcomes the percentiles are outcomes, each hit except with tiny probability.
    expected = np.quantile(exact, [0.1, 0.9], method="inverted_cdf")
    np.testing.assert_allclose(interval[1:], expected)


def test_stratified_bootstrap_matches_the_reference_library_on_one_stratum():
    scores = np.random.default_rng(1).normal(size=40)
    ours = statistics.stratified_bootstrap_interval([scores], num_resamples=20_000)
    iqm = lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)
    theirs = stats.bootstrap(
        (scores,), iqm, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    np.testing.assert_allclose(ours[1:], theirs, atol=0.02)  # Monte Carlo error of percentiles


def test_stratified_bootstrap_never_moves_runs_between_strata():
    """Seeds that agree leave nothing to resample, however far apart the configurations are."""
    interval = statistics.stratified_bootstrap_interval([[1.0] * 3, [50.0] * 5, [9.0] * 2])
    assert interval.low == interval.estimate == interval.high


def test_bootstraps_are_reproducible_and_silent_about_single_seeds():
    strata = np.random.default_rng(0).normal(size=(3, 5))
    first = statistics.stratified_bootstrap_interval(strata)
    assert first == statistics.stratified_bootstrap_interval(strata)
    assert np.isnan(statistics.stratified_bootstrap_interval([[1.0], [2.0]])[1:]).all()
    assert np.isnan(statistics.stratified_bootstrap_interval([[1.0, np.nan]])).all()
    assert np.isnan(statistics.stratified_bootstrap_interval([])).all()


@given(st.lists(finite, min_size=1, max_size=8), st.lists(finite, min_size=1, max_size=8))
def test_probability_of_improvement_counts_pairs(a, b):
    pairs = [(x > y) + 0.5 * (x == y) for x in a for y in b]
    interval = statistics.probability_of_improvement(a, b, num_resamples=10)
    assert interval.estimate == pytest.approx(np.mean(pairs))
    reverse = statistics.probability_of_improvement(b, a, num_resamples=10)
    assert interval.estimate + reverse.estimate == pytest.approx(1.0)


def test_probability_of_improvement_is_the_mann_whitney_statistic():
    generator = np.random.default_rng(3)
    a, b = generator.normal(0.5, 1.0, 9), generator.normal(0.0, 1.0, 7)
    interval = statistics.probability_of_improvement(a, b)
    assert interval.estimate == pytest.approx(stats.mannwhitneyu(a, b).statistic / 63)
    assert 0.0 <= interval.low < interval.estimate < interval.high <= 1.0
    separated = statistics.probability_of_improvement(a + 100.0, b)
    assert separated == (1.0, 1.0, 1.0)


def test_probability_of_improvement_resamples_both_sides():
    """[0, 1] against [0, 1]: the 16 resamples are known, and so is the share of each value."""
    values = [0.0, 1.0]
    draws = list(itertools.product(values, repeat=2))
    exact = [
        np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b])
        for a, b in itertools.product(draws, draws)
    ]
    low, high = np.quantile(exact, [0.1, 0.9], method="inverted_cdf")
    ours = statistics.probability_of_improvement(values, values, 0.8, num_resamples=20_000)
    np.testing.assert_allclose(ours, (0.5, low, high), atol=1e-12)


def test_probability_of_improvement_edges_are_nan():
    assert np.isnan(statistics.probability_of_improvement([], [1.0])).all()
    assert np.isnan(statistics.probability_of_improvement([np.nan], [1.0])).all()
    single = statistics.probability_of_improvement([2.0], [1.0, 3.0])
    assert single.estimate == 0.5
    assert np.isnan(single.low)


def test_performance_profile_is_a_tail_count():
    values, thresholds = np.array([[1.0, 2.0], [3.0, np.nan]]), [0.0, 1.0, 2.5, 9.0]
    profile = statistics.performance_profile(values, thresholds)
    np.testing.assert_array_equal(profile, [0.75, 0.5, 0.25, 0.0])
    assert np.isnan(statistics.performance_profile([], thresholds)).all()


def test_the_leaderboard_ranks_by_final_validation_and_quotes_test():
    scores = [[1.0, 2.0], [5.0, 7.0], [3.0, 3.0]]
    test = [[10.0, 12.0], [20.0, 24.0], [0.0, 2.0]]
    hparams = {"learning_rate": [0.1, 0.2, 0.3], "num_layers": [1, 2, 3], "act": ["a", "b", "c"]}
    board = statistics.leaderboard(table(scores, test, hparams), "return")
    assert board["config"].tolist() == [1, 2, 0]
    assert board["rank"].tolist() == [1, 2, 3]
    assert board["validation/return"].tolist() == [6.0, 3.0, 1.5]
    assert board["test/return"].tolist() == [22.0, 1.0, 11.0]
    half = 12.706205 * 2.0  # t_{1, .975} times s / sqrt(2) of 20 and 24
    np.testing.assert_allclose(board["test/return_high"][0] - 22.0, half, rtol=1e-6)
    np.testing.assert_allclose(22.0 - board["test/return_low"][0], half, rtol=1e-6)
    assert board["env_steps"].tolist() == [2000] * 3
    assert board["hparam/num_layers"].tolist() == [2, 3, 1]
    assert pd.api.types.is_integer_dtype(board["hparam/num_layers"]), "settings keep their type"
    assert len(statistics.leaderboard(table(scores), "return", top=2)) == 2


@given(st.permutations(range(12)))
def test_selection_never_looks_at_the_test_split(order):
    generator = np.random.default_rng(0)
    scores, test = generator.normal(size=(4, 3)), generator.normal(size=(4, 3))
    permuted = test.ravel()[list(order)].reshape(4, 3)
    test[0, 0] = np.nan  # not even through a diverged test score
    plain = statistics.leaderboard(table(scores, test), "return")
    shuffled = statistics.leaderboard(table(scores, permuted), "return")
    columns = ["rank", "config", "validation/return", "diverged"]
    pd.testing.assert_frame_equal(plain[columns], shuffled[columns])


def test_ties_go_to_the_lower_config_and_divergence_to_the_end():
    scores = [[np.nan, 9.0], [2.0, 2.0], [2.0, 2.0], [-np.inf, 1.0], [4.0, 4.0]]
    board = statistics.leaderboard(table(scores), "return")
    assert board["config"].tolist() == [4, 1, 2, 0, 3]
    assert board["diverged"].tolist() == [False, False, False, True, True]
    assert board["validation/return"].isna().tolist() == [False, False, False, True, True]


def test_the_order_of_rows_does_not_matter():
    results = table(np.random.default_rng(0).normal(size=(6, 3)))
    shuffled = results.sample(frac=1.0, random_state=1)
    board = statistics.leaderboard(results, "return")
    pd.testing.assert_frame_equal(board, statistics.leaderboard(shuffled, "return"))


def test_configurations_stopped_early_are_judged_where_they_stopped():
    results = table([[1.0, 1.0], [2.0, 2.0]], num_evaluations=3)
    stopped = results[(results["config"] == 0) | (results["evaluation"] < 2)]
    board = statistics.leaderboard(stopped, "return")
    assert board["config"].tolist() == [0, 1]
    assert board["env_steps"].tolist() == [3000, 2000]
    assert board["validation/return"].tolist() == [1.0, -100.0]


def test_a_misspelt_metric_is_named():
    with pytest.raises(ValueError, match=r"'validation/retrun'.*'validation/return'"):
        statistics.leaderboard(table([[1.0]]), "retrun")


def test_sensitivity_finds_the_parameter_that_matters():
    generator = np.random.default_rng(0)
    rate, noise = 10 ** generator.uniform(-4, -2, 60), generator.uniform(0, 1, 60)
    act = generator.choice(["relu", "tanh"], 60)
    score = -((np.log10(rate) + 3.0) ** 2)[:, None] + 0.05 * generator.normal(size=(60, 2))
    results = table(score, hparams={"noise": noise, "act": act, "rate": rate})
    rows = statistics.sensitivity(results, "return").set_index("hyperparameter")
    assert rows.index[0] == "rate"
    # Eight quantile bins of a parabola leave under a tenth of its variance inside the bins.
    assert rows.loc["rate", "variance_explained"] > 0.85
    assert rows.loc["noise", "variance_explained"] < 0.3
    assert np.isnan(rows.loc["act", "spearman"]), "labels have no order"
    expected = stats.spearmanr(rate, score.mean(axis=1)).statistic
    assert rows.loc["rate", "spearman"] == pytest.approx(expected)


def test_sensitivity_of_degenerate_sweeps_is_nan_without_warnings():
    constant = table([[1.0], [1.0], [1.0]], hparams={"x": [1, 2, 3]})
    fixed = table([[1.0], [2.0], [3.0]], hparams={"x": [1, 1, 1]})
    diverged = table([[np.nan]] * 3, hparams={"x": [1, 2, 3]})
    single = table([[1.0]], hparams={"x": [1]})
    for results in (constant, fixed, diverged, single):
        row = statistics.sensitivity(results, "return").iloc[0]
        assert np.isnan(row["spearman"])
        assert np.isnan(row["variance_explained"])
    assert statistics.sensitivity(table([[1.0]]), "return").empty


def test_sensitivity_leaves_out_diverged_and_unset_values():
    scores = [[1.0], [2.0], [3.0], [4.0], [np.nan], [9.0]]
    results = table(scores, hparams={"x": [1.0, 2.0, 3.0, 4.0, 5.0, np.nan]})
    row = statistics.sensitivity(results, "return").iloc[0]
    assert row["num_configs"] == 4
    assert row["spearman"] == pytest.approx(1.0)


def test_variance_explained_matches_the_analysis_of_variance():
    """Kelley's measure is (F - 1)(G - 1) / (F (G - 1) + n - G) for the one-way F statistic."""
    generator = np.random.default_rng(5)
    groups = np.repeat([0, 1, 2], [5, 7, 9])
    score = groups + generator.normal(size=21)
    f = stats.f_oneway(*(score[groups == g] for g in range(3))).statistic
    expected = (f - 1) * 2 / (f * 2 + 18)
    assert statistics.variance_explained(groups, score) == pytest.approx(expected)


def test_variance_explained_has_no_bias_from_pure_noise():
    generator = np.random.default_rng(0)
    groups = np.arange(24) % 6
    shares = [statistics.variance_explained(groups, generator.normal(size=24)) for _ in range(300)]
    assert np.median(shares) < 0.05, "uncorrected, six groups of noise would explain 22%"


@pytest.mark.parametrize("values", [[1] * 9 + [2], list(range(10)) * 3, [0.1] * 28 + [5, 6]])
def test_equal_values_share_a_group(values):
    values = pd.Series(values)
    groups = statistics.value_groups(values)
    assert not pd.isna(groups).any()
    for value in values.unique():
        assert len(set(groups[values == value])) == 1


def test_ties_never_merge_every_value_into_one_group():
    assert len(set(statistics.value_groups(pd.Series([1, 1, 1, 2, 3])))) > 1


def test_lists_and_missing_labels_can_be_swept():
    sizes = [[64], [64, 64], None, [64]]
    results = table([[1.0], [2.0], [3.0], [1.5]], hparams={"hidden_sizes": sizes})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = statistics.sensitivity(results, "return").iloc[0]
    assert row["num_configs"] == 3
    assert 0.0 <= row["variance_explained"] <= 1.0
