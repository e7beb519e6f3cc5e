"""Auctions against the numbers of the literature: optimal revenues, menus, VCG, equilibria.

    python bench/auctions.py                # everything that needs no training, about a minute
    python bench/auctions.py --part menus

Prints one JSON line per number: ours, the oracle's, their difference, and whether it is within the
digits that the oracle has (`tolerance`). Everything is computed in float64. Numbers by simulation
also have a standard error, and their tolerance is four of them or the oracle's digits.

`learned` judges a trained auction: its revenue, what the best misreports found gain, and what no
misreport can exceed.
"""

import argparse
import functools
import json

import jax
import numpy as np

from jaxecon.mechanisms import auctions, intervals
from jaxecon.mechanisms.auctions import equilibria
from jaxecon.mechanisms.base import AuctionTypes
from jaxecon.mechanisms.exploitability import exploitability

NUM_DRAWS = 1_000_000
UNIFORM = (
    *(0.25, 0.416667, 0.53125, 0.6125, 0.671875),
    *(0.716518, 0.750977, 0.778212, 0.800195, 0.818271),
)
SIZES = ((2, 2), (2, 3), (3, 10), (5, 10))


def line(name, value, oracle, tolerance=1e-6, **more):
    """One number beside the oracle's."""
    value, oracle, tolerance = float(value), float(oracle), float(tolerance)
    error = value - oracle
    return {
        "bench": "auctions", "name": name, "value": round(value, 9), "oracle": oracle,
        "error": error, "tolerance": tolerance, "ok": abs(error) <= tolerance, **more,
    }  # fmt: skip


def myerson():
    """Optimal revenues of one item, and of several sold separately or as a bundle."""
    counts = np.arange(1, 11)
    uniform = auctions.Uniform(0.0, 1.0)
    revenues = auctions.optimal_revenue(uniform, counts)
    second = auctions.second_price_revenue(uniform, counts)
    for n, revenue, plain, oracle in zip(counts, revenues, second, UNIFORM, strict=True):
        yield line(f"Myerson, U[0, 1], n = {n}", revenue, oracle)
        yield line(f"second price, U[0, 1], n = {n}", plain, (n - 1) / (n + 1))
    exponential = auctions.Exponential(3.0)
    yield line("Myerson, Exponential(3), n = 3", auctions.optimal_revenue(exponential, 3), 2.751693)
    yield line("second price, same", auctions.second_price_revenue(exponential, 3), 2.5)
    mixture = auctions.UniformMixture(*map(np.array, ([0.0, 3.0], [3.0, 8.0], [0.75, 0.25])))
    yield line(
        "Myerson, .75 U[0, 3] + .25 U[3, 8], n = 3", auctions.optimal_revenue(mixture, 3), 2.374867
    )
    unequal = auctions.optimal_revenue_unequal(
        [auctions.Uniform(0.0, 1.0 * i) for i in range(1, 6)]
    )
    yield line("Myerson, U[0, i], i = 1..5", unequal, 2.297617)
    for (n, m), oracle in zip(SIZES, (0.833333, 1.25, 5.3125, 6.71875), strict=True):
        yield line(f"item-wise Myerson, {n} x {m}", m * revenues[n - 1], oracle)
    # These oracles are simulations; our values are exact to 1e-6.
    for (n, m), oracle in zip(SIZES, (0.8390, 1.2777, 5.0033, 5.4556), strict=True):
        bundle = auctions.optimal_revenue(auctions.UniformSum(m), n)
        yield line(f"best reserve for the bundle, {n} x {m}", bundle, oracle, 1e-3)
    bundle = auctions.optimal_revenue(auctions.UniformSum(10))
    yield line("bundle of 10 items, one bidder", bundle, 3.4495, 2e-3)


def menus():
    """One bidder, two items."""
    for name, known in auctions.KNOWN_MENUS.items():
        revenue = auctions.uniform_revenue(known.menu(), known.region())
        yield line(f"menu: {name}", revenue, known.revenue)


def vcg():
    """Revenue of VCG, by simulation."""
    cases = [(*size, False) for size in SIZES] + [(2, 2, True)]
    for (n, m, unit_demand), oracle in zip(cases, (0.666667, 1.0, 5.0, 6.666667, 0.1), strict=True):
        mean, error = simulated_revenue(auctions.VCG(), n, m, unit_demand)
        kind = "unit demand" if unit_demand else "additive"
        yield line(
            f"VCG, {kind}, {n} x {m}",
            mean,
            oracle,
            max(4.0 * error, 1e-6),
            standard_error=float(error),
        )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def simulated_revenue(mechanism, num_bidders, num_items, unit_demand):
    """Mean and standard error over `NUM_DRAWS` types uniform on [0, 1]."""

    def batch(key):
        values = jax.random.uniform(key, (NUM_DRAWS // 100, num_bidders, num_items), float)
        return auctions.revenue(mechanism(AuctionTypes(values, unit_demand)))

    paid = jax.lax.map(batch, jax.random.split(jax.random.key(0), 100))
    return paid.mean(), paid.std() / NUM_DRAWS**0.5


def bayes_nash():
    """Revenues and utilities of equilibria in closed form."""
    reserve = equilibria.first_price_summary(2, reserve=0.5)
    yield line("first price, n = 2, reserve 1/2: revenue", reserve.revenue, 5 / 12)
    averse = equilibria.first_price_summary(3, risk_exponent=0.5)
    yield line("first price, n = 3, CRRA 1/2: revenue", averse.revenue, 0.6)
    yield line("all-pay, n = 2: revenue", equilibria.all_pay_summary(2).revenue, 1 / 3)
    unequal = equilibria.unequal_first_price_summary()
    yield line("first price, U[0, 1] and U[0, 2]: revenue", unequal.revenue, 0.45901, 1e-5)
    for who, utility, oracle in zip(
        ("weak", "strong"), unequal.utilities, (0.09691, 0.50697), strict=True
    ):
        yield line(f"the same: utility of the {who}", utility, oracle, 1e-4)
    core = {
        "nearest_vcg": (0.133166, 0.467341),
        "nearest_bid": (0.125, 0.5),
        "nearest_zero": (0.133994, 0.464032),
    }
    for rule, oracles in core.items():
        utilities = equilibria.core_summary(rule).utilities[1:]
        for who, utility, oracle in zip(("local", "global"), utilities, oracles, strict=True):
            yield line(f"local-local-global, {rule}: {who}", utility, oracle, 3e-6)


def learned(name, mechanism, params, types, *, high=1.0, num_refinements=64, **more):
    """One line for a trained auction on fresh types [B, N, M].

    Regret is a bidder's gain from its best misreport, a mean over bidders and types: `regret_found`
    is what a search reached, `regret_bound` what certainly cannot be exceeded.
    """
    space = {"valuations": (0.0, high)}
    found = exploitability(mechanism, types, params, key=jax.random.key(1), space=space)
    bound = intervals.gain_upper_bound(
        mechanism, types, params, space=space, num_refinements=num_refinements
    )
    paid = auctions.revenue(mechanism(types, params))
    return {
        "bench": "auctions", "name": name, "revenue": float(paid.mean()),
        "standard_error": float(paid.std() / paid.shape[0] ** 0.5),
        "regret_found": float(found.gain.mean()), "regret_found_max": float(found.gain.max()),
        "regret_bound": float(bound.mean()), "regret_bound_max": float(bound.max()), **more,
    }  # fmt: skip


PARTS = {"myerson": myerson, "menus": menus, "vcg": vcg, "bayes_nash": bayes_nash}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    for part in parser.parse_args().part or PARTS:
        with jax.enable_x64(True):
            for result in PARTS[part]():
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
