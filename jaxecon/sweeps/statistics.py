"""Statistics over seeds and configurations: intervals, rankings, sensitivities.

Everything here takes plain NumPy arrays or the table of a finished sweep: one row per
configuration (`config`), `seed` and `evaluation`, with `hparam/NAME` columns for what was swept
and `SPLIT/METRIC` columns for what was measured. Selection and report read different splits, so
the reported number is not the one that was maximised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxecon.suggest import unknown_name

if TYPE_CHECKING:
    import pandas as pd

HPARAM_PREFIX = "hparam/"


class Interval(NamedTuple):
    """An estimate between its confidence limits; limits are nan where none can be given."""

    estimate: float
    low: float
    high: float


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean and Student t confidence interval over seeds.

        x̄ ± t_{n-1, (1+c)/2} s / √n,  s² with n-1 in the denominator

    Args:
      values: [n] one number per independent seed.
      confidence: coverage c in (0, 1).

    Returns:
      The mean and its limits, in the units of `values`. One seed gives the mean with nan limits:
      a single draw says nothing about its spread. Any nan or inf among the values makes all three
      nan, because dropping a diverged seed would flatter the configuration.

    Source: Student (1908), The Probable Error of a Mean, Biometrika 6.
    """
    from scipy import special

    values = np.asarray(values, dtype=float).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        return Interval(np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, np.nan, np.nan)
    quantile = special.stdtrit(values.size - 1, 0.5 * (1.0 + confidence))
    half_width = float(quantile * values.std(ddof=1) / np.sqrt(values.size))
    return Interval(mean, mean - half_width, mean + half_width)


def interquartile_mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of the middle half: the lowest and the highest ⌊n/4⌋ values are left out.

    Args:
      values: [...] scores; fewer than four along the axis are simply averaged.
      axis: axis to reduce; None flattens first.

    Returns:
      The mean without `axis`, in the units of `values`; nan where any value is nan.

    Source: Agarwal et al. (2021), Deep RL at the Edge of the Statistical Precipice, NeurIPS.
    """
    values = np.asarray(values, dtype=float)
    ordered = np.sort(values.ravel() if axis is None else np.moveaxis(values, axis, -1), axis=-1)
    count = ordered.shape[-1]
    if count == 0:
        return np.full(ordered.shape[:-1], np.nan)[()]
    middle = ordered[..., count // 4 : count - count // 4].mean(axis=-1)
    return np.where(np.isnan(ordered[..., -1]), np.nan, middle)[()]  # sort puts nan last


def stratified_bootstrap_interval(
    strata: Sequence[np.ndarray] | np.ndarray,
    confidence: float = 0.95,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interquartile mean over all runs with a percentile bootstrap interval.

    Seeds are drawn with replacement inside each stratum, so every resample holds the same number
    of runs of every configuration and the interval speaks about seeds only.

    Args:
      strata: one [n_i] array of scores per configuration (or task); an [S, n] array works too.
      confidence: coverage in (0, 1).
      num_resamples: bootstrap draws.
      seed: of the NumPy generator, so equal inputs give equal intervals.

    Returns:
      The point estimate and percentile limits; nan limits where no stratum has two seeds, and nan
      throughout where any score is not finite.

    Source: Agarwal et al. (2021), section 4.
    """
    strata = [np.asarray(stratum, dtype=float).ravel() for stratum in strata]
    scores = np.concatenate(strata) if strata else np.empty(0)
    if scores.size == 0 or not np.isfinite(scores).all():
        return Interval(np.nan, np.nan, np.nan)
    estimate = float(interquartile_mean(scores))
    if max(stratum.size for stratum in strata) < 2:
        return Interval(estimate, np.nan, np.nan)
    generator = np.random.default_rng(seed)
    resamples = np.concatenate(
        [generator.choice(stratum, (num_resamples, stratum.size)) for stratum in strata], axis=1
    )  # [R, sum n_i]
    return Interval(estimate, *_percentiles(interquartile_mean(resamples, axis=1), confidence))


def probability_of_improvement(
    a: np.ndarray,
    b: np.ndarray,
    confidence: float = 0.95,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Chance that a run of A beats a run of B, with a percentile bootstrap interval.

        P(A > B) + P(A = B) / 2 = U / (n m),  U the Mann-Whitney statistic

    Args:
      a: [n] scores of A, larger is better.
      b: [m] scores of B.
      confidence: coverage in (0, 1).
      num_resamples: bootstrap draws; seeds of A and of B are redrawn independently.
      seed: of the NumPy generator.

    Returns:
      A probability and its limits, unitless; nan limits where A or B has a single seed, nan
      throughout where a score is nan or one side is empty.

    Source: Mann and Whitney (1947), Annals of Mathematical Statistics 18; Agarwal et al. (2021).
    """
    a, b = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    if min(a.size, b.size) == 0 or np.isnan(a).any() or np.isnan(b).any():
        return Interval(np.nan, np.nan, np.nan)
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])  # [n, m]
    estimate = float(wins.mean())
    if min(a.size, b.size) < 2:
        return Interval(estimate, np.nan, np.nan)
    generator = np.random.default_rng(seed)
    # How often each seed is drawn is all that a resample changes; counts keep the sums exact.
    count_a = generator.multinomial(a.size, np.full(a.size, 1.0 / a.size), num_resamples)  # [R, n]
    count_b = generator.multinomial(b.size, np.full(b.size, 1.0 / b.size), num_resamples)  # [R, m]
    draws = ((count_a @ wins) * count_b).sum(axis=1) / wins.size
    return Interval(estimate, *_percentiles(draws, confidence))


def performance_profile(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs that score above each threshold: F(τ) = mean(1[x > τ]).

    Args:
      values: [...] scores of runs; a nan counts as above nothing.
      thresholds: [K] levels τ, in the units of the scores.

    Returns:
      [K] shares in [0, 1], non-increasing in τ; nan where there are no runs.

    Source: Dolan and Moré (2002), Mathematical Programming 91; Agarwal et al. (2021).
    """
    values, thresholds = np.ravel(values), np.ravel(thresholds)
    if values.size == 0:
        return np.full(thresholds.shape, np.nan)
    return (values[:, None] > thresholds[None, :]).mean(axis=0)


def hyperparameters(results: pd.DataFrame) -> list[str]:
    """Names of the swept hyperparameters, in column order, without their prefix."""
    columns = [name for name in results.columns if name.startswith(HPARAM_PREFIX)]
    return [name.removeprefix(HPARAM_PREFIX) for name in columns]


def final_evaluation(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last evaluation of every configuration and seed, ordered by both.

    "Last" is per run, so configurations that were stopped early are judged where they stopped.
    """
    last = results.groupby(["config", "seed"])["evaluation"].transform("max")
    return results[results["evaluation"] == last].sort_values(["config", "seed"], kind="stable")


def final_scores(results: pd.DataFrame, metric: str, split: str = "validation") -> pd.DataFrame:
    """One row per configuration: `config`, its `hparam/` columns and the mean `score` over seeds.

    The score is taken at the final evaluation; it is nan where any seed's is not finite.
    """
    import pandas as pd

    column = metric_column(results, metric, split)
    rows = [
        {"config": config, **_settings(runs), "score": mean_interval(runs[column]).estimate}
        for config, runs in final_evaluation(results).groupby("config")
    ]
    return pd.DataFrame(rows)


def metric_column(results: pd.DataFrame, metric: str, split: str) -> str:
    """Column of a metric on a split; ValueError naming the nearest ones where there is none."""
    column = f"{split}/{metric}"
    if column not in results.columns:
        measured = [name for name in results.columns if name.startswith(f"{split}/")]
        raise ValueError(unknown_name("metric column", column, measured or results.columns))
    return column


def leaderboard(
    results: pd.DataFrame,
    metric: str,
    *,
    split_select: str = "validation",
    split_report: str = "test",
    top: int | None = None,
) -> pd.DataFrame:
    """Configurations ranked by one split, with another split's mean and 95% t interval beside it.

    Args:
      results: table of the sweep, one row per configuration, seed and evaluation.
      metric: name without its split, larger is better.
      split_select: the only split that decides the ranking.
      split_report: the split to quote; it never touches the ranking.
      top: keep this many rows; None keeps all.

    Returns:
      One row per configuration, best first, ties by lower index: `rank`, `config`,
      `SELECT/METRIC`, `REPORT/METRIC`, `REPORT/METRIC_low`, `REPORT/METRIC_high`, `num_seeds`,
      `env_steps` (a run's total), `diverged`, then the `hparam/` columns. A configuration with
      any seed not finite on the selection split is `diverged`, scores nan there and ranks last.
    """
    import pandas as pd

    select = metric_column(results, metric, split_select)
    report = metric_column(results, metric, split_report)

    def summarise(config, runs):
        selected, reported = mean_interval(runs[select]), mean_interval(runs[report])
        limits = {f"{report}_low": reported.low, f"{report}_high": reported.high}
        row = {"config": config, select: selected.estimate, report: reported.estimate, **limits}
        row |= {"num_seeds": len(runs), "env_steps": runs["env_steps"].max()}
        return row | {"diverged": bool(np.isnan(selected.estimate))} | _settings(runs)

    groups = final_evaluation(results).groupby("config")
    table = pd.DataFrame([summarise(config, runs) for config, runs in groups])
    table = table.sort_values(["diverged", select, "config"], ascending=[True, False, True])
    table = table.reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table if top is None else table.head(top)


def sensitivity(results: pd.DataFrame, metric: str, *, split: str = "validation") -> pd.DataFrame:
    """How much each swept hyperparameter matters for the final score, most important first.

    Args:
      results: table of the sweep.
      metric: name without its split.
      split: where to read it.

    Returns:
      A row per hyperparameter: `hyperparameter`; `spearman`, the rank correlation of value and
      mean score over seeds (nan where values are not numbers); `variance_explained`, the
      first-order share of the score's variance between groups of similar values (see
      `variance_explained`); `num_configs` used. Diverged configurations are left out.
    """
    import pandas as pd

    scores = final_scores(results, metric, split).dropna(subset="score")
    rows = []
    for name in hyperparameters(results):
        known = scores.dropna(subset=HPARAM_PREFIX + name)
        values, score = known[HPARAM_PREFIX + name], known["score"].to_numpy()
        share = variance_explained(value_groups(values), score)
        rows.append((name, _spearman(values, score), share, len(known)))
    table = pd.DataFrame(
        rows, columns=["hyperparameter", "spearman", "variance_explained", "num_configs"]
    )
    order = ["variance_explained", "hyperparameter"]
    return table.sort_values(order, ascending=[False, True], ignore_index=True)


def variance_explained(groups: np.ndarray, score: np.ndarray) -> float:
    """Share of the score's variance that lies between groups, corrected for chance (Kelley's ε²).

        η² = Σ_g n_g (x̄_g - x̄)² / Σ_i (x_i - x̄)²,   ε² = 1 - (1 - η²)(n - 1)/(n - G)

    η² alone expects (G-1)/(n-1) from pure noise; ε² expects zero, and is cut off there.

    Args:
      groups: [n] group label of each configuration.
      score: [n] its score.

    Returns:
      A share in [0, 1]; nan with fewer than two groups, no repeated group, or a constant score.

    Source: Kelley (1935), An Unbiased Correlation Ratio Measure, PNAS 21; the grouping estimates
    the first-order index of Saltelli et al. (2008), Global Sensitivity Analysis, ch. 4.
    """
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    total = float(((score - score.mean()) ** 2).sum()) if score.size else 0.0
    if not 2 <= counts.size < score.size or total == 0.0:
        return np.nan
    means = np.bincount(group, weights=score) / counts
    within = float(((score - means[group]) ** 2).sum())
    return max(0.0, 1.0 - (within / (score.size - counts.size)) / (total / (score.size - 1)))


def value_groups(values: pd.Series) -> np.ndarray:
    """[n] group of each value: quantile bins of many numbers, else one group per distinct value."""
    import pandas as pd

    num_bins = int(np.clip(len(values) // 5, 2, 8))
    if not pd.api.types.is_numeric_dtype(values):
        return pd.factorize(values.astype(str), sort=True)[0]
    distinct = pd.factorize(values, sort=True)[0]
    if values.nunique() <= num_bins:
        return distinct
    bins = pd.qcut(values.rank(), num_bins, labels=False, duplicates="drop").to_numpy()
    return bins if bins.max() > 0 else distinct  # ties may merge all bins into one


def _settings(runs: pd.DataFrame) -> dict:
    """Swept values of one configuration by column, each in its own dtype."""
    return {
        HPARAM_PREFIX + name: runs[HPARAM_PREFIX + name].iloc[0] for name in hyperparameters(runs)
    }


def _spearman(values: pd.Series, score: np.ndarray) -> float:
    """Rank correlation; nan for labels, constants and fewer than three configurations."""
    import pandas as pd
    from scipy import stats

    if not pd.api.types.is_numeric_dtype(values) or len(values) < 3:
        return np.nan
    if values.nunique() < 2 or np.ptp(score) == 0.0:
        return np.nan
    return float(stats.spearmanr(values.to_numpy(dtype=float), score).statistic)


def _percentiles(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    """Two-sided percentile limits of bootstrap draws."""
    low, high = np.quantile(draws, [0.5 * (1.0 - confidence), 0.5 * (1.0 + confidence)])
    return float(low), float(high)
