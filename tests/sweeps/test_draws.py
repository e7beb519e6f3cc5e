"""Draws of configurations: prefixes, independence, distributions, order and complaints."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxecon.sweeps.draws import Draw, draw_configurations

SEARCH = {
    "learning_rate": Draw(log_uniform=(1e-4, 1e-2)),
    "gamma": Draw(uniform=(0.9, 1.0)),
    "clip_eps": Draw(choice=(0.1, 0.2, 0.3)),
}


@pytest.mark.parametrize("sampler", ["random", "sobol"])
@given(small=st.integers(1, 70), more=st.integers(0, 70), seed=st.integers(0, 2**32 - 1))
def test_configuration_i_does_not_depend_on_how_many_there_are(sampler, small, more, seed):
    few = draw_configurations(SEARCH, sampler, small, seed)
    many = draw_configurations(SEARCH, sampler, small + more, seed)
    for name in SEARCH:
        np.testing.assert_array_equal(few[name], many[name][:small])


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_the_seed_decides_the_draws(sampler):
    first, same, other = (draw_configurations(SEARCH, sampler, 16, seed) for seed in (1, 1, 2))
    for name in SEARCH:
        np.testing.assert_array_equal(first[name], same[name])
        assert (first[name] != other[name]).any()


def test_random_draws_of_a_name_ignore_the_other_names():
    together = draw_configurations(SEARCH, "random", 32, 0)
    reversed_order = draw_configurations(dict(reversed(SEARCH.items())), "random", 32, 0)
    for name, draw in SEARCH.items():
        alone = draw_configurations({name: draw}, "random", 32, 0)
        np.testing.assert_array_equal(alone[name], together[name])
        np.testing.assert_array_equal(alone[name], reversed_order[name])


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_hyperparameters_of_one_range_are_drawn_independently(sampler):
    """One key shared by all names would make every hyperparameter the same number."""
    names = ("ent_coef", "vf_coef", "env.slope")
    drawn = draw_configurations({n: Draw(uniform=(0, 1)) for n in names}, sampler, 4096, 3)
    correlation = np.corrcoef([drawn[name] for name in names])
    # 1 / sqrt(4096) = 0.016 is one standard error of an independent pair
    assert np.abs(correlation - np.eye(3)).max() < 0.08


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_draws_have_their_distributions(sampler):
    drawn = draw_configurations(SEARCH, sampler, 4096, 5)
    log_rate = np.log10(drawn["learning_rate"])
    assert stats.kstest(log_rate, stats.uniform(-4, 2).cdf).pvalue > 1e-3
    assert stats.kstest(drawn["gamma"], stats.uniform(0.9, 0.1).cdf).pvalue > 1e-3
    values, counts = np.unique(drawn["clip_eps"], return_counts=True)
    np.testing.assert_array_equal(values, [0.1, 0.2, 0.3])
    assert stats.chisquare(counts).pvalue > 1e-3


@given(
    low=st.floats(1e-8, 10.0),
    ratio=st.floats(1.001, 1e4),
    unit=st.floats(0.0, 1.0, exclude_max=True),
)
def test_ranges_hold_their_bounds(low, ratio, unit):
    high = low * ratio
    for kind in ("uniform", "log_uniform"):
        value = Draw(**{kind: (low, high)}).at(np.array([0.0, unit, math.nextafter(1.0, 0.0)]))
        assert (value >= low).all(), kind
        assert (value <= high).all(), kind


@given(unit=st.floats(0.0, 1.0, exclude_max=True), size=st.integers(1, 9))
def test_a_choice_is_one_of_its_values(unit, size):
    options = tuple(float(i) for i in range(size))
    assert Draw(choice=options).at(np.array([unit]))[0] == math.floor(unit * size)


def test_a_grid_is_every_combination_with_the_first_name_slowest():
    search = {"gamma": Draw(grid=(0.9, 0.99)), "clip_eps": Draw(choice=(0.1, 0.2, 0.3))}
    for num_configs in (None, 6):
        drawn = draw_configurations(search, "grid", num_configs, 0)
        np.testing.assert_array_equal(drawn["gamma"], [0.9, 0.9, 0.9, 0.99, 0.99, 0.99])
        np.testing.assert_array_equal(drawn["clip_eps"], [0.1, 0.2, 0.3] * 2)


def test_no_search_is_one_configuration_of_nothing():
    assert draw_configurations({}, "random", None, 0) == {}
    assert draw_configurations({}, "random", 1, 0) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give exactly one of grid, choice, uniform, log_uniform; got none"),
        ({"grid": [1], "uniform": [0, 1]}, r"exactly one .* got \['grid', 'uniform'\]"),
        ({"choice": []}, "choice must list at least one value"),
        ({"uniform": [1, 1]}, r"low < high, got \[1.0, 1.0\]"),
        ({"log_uniform": [2, 1]}, "low < high"),
        ({"log_uniform": [0, 1]}, "log_uniform bounds must be positive"),
        ({"log_uniform": [-1, 1]}, "log_uniform bounds must be positive"),
        ({"grid": [1, math.nan]}, "finite"),
        ({"uniform": [0, math.inf]}, "finite"),
    ],
)
def test_a_draw_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Draw(**fields)


@pytest.mark.parametrize(
    ("search", "sampler", "num_configs", "message"),
    [
        (SEARCH, "random", None, "needs num_configs"),
        (SEARCH, "sobol", None, "needs num_configs"),
        (SEARCH, "grid", None, "needs listed values for 'learning_rate'"),
        ({"gamma": Draw(grid=(0.9, 0.99))}, "grid", 3, "has 2 points, but num_configs is 3"),
        ({}, "random", 8, "nothing is searched; add a \\[search\\] table"),
    ],
)
def test_a_sampler_that_does_not_fit_is_refused(search, sampler, num_configs, message):
    with pytest.raises(ValueError, match=message):
        draw_configurations(search, sampler, num_configs, 0)
