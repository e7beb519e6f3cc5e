"""Preconditions: every formula against Python's own reading of it on all truth assignments."""

import itertools

import jax
import numpy as np
import pytest

from jaxecon.envs.preconditions import Preconditions

FORMULAS = {
    "hold": "True",
    "sell": "stock & ~halted",
    "swap": "(stock | cash) & ~(halted & closed)",
    "buy": "cash & ~halted | ~closed & cash & stock",
}
NAMES = ("stock", "cash", "halted", "closed")


def test_formulas_equal_python_on_every_assignment():
    rows = np.array(list(itertools.product([False, True], repeat=4)))
    features = dict(zip(NAMES, rows.T, strict=True))
    mask = jax.jit(Preconditions(FORMULAS, NAMES).mask)(features)
    assert mask.shape == (16, 4)
    for row, got in zip(rows, mask, strict=True):
        words = dict(zip(NAMES, map(bool, row), strict=True))
        for text, value in zip(FORMULAS.values(), got, strict=True):
            spelt = text.replace("~", " not ").replace("&", " and ").replace("|", " or ")
            assert bool(value) == bool(eval(spelt, {}, words)), (text, words)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("stok & cash", "Unknown feature in the precondition of 'sell': 'stok'.*'stock'"),
        ("stock &", "The precondition of 'sell' must be a formula"),
        ("stock > 0", "The precondition of 'sell' may use"),
        ("1", "The precondition of 'sell' may use"),
        (3, "The precondition of 'sell' must be a formula in a string, got 3"),
    ],
)
def test_a_bad_formula_is_refused_by_name(formula, message):
    with pytest.raises(ValueError, match=message):
        Preconditions({"sell": formula}, NAMES)


def test_a_feature_that_is_not_given_is_named():
    with pytest.raises(ValueError, match="'halted'"):
        Preconditions(FORMULAS).mask({"stock": np.True_, "cash": np.True_, "closed": np.True_})
    with pytest.raises(ValueError, match="at least 1 action"):
        Preconditions({})
