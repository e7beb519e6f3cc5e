"""Auctions against the numbers of the literature: optimal revenues, menus, VCG, equilibria.

    python bench/auctions.py                # everything
    python bench/auctions.py --part myerson --part menus --part vcg --part bayes_nash  # no training
    python bench/auctions.py --part regretnet_2x2 --seeds 1 --minutes 2

Parts without training print one JSON line per number: ours, the oracle's, their difference, and
whether it is within the digits that the oracle has (`tolerance`). Everything is computed in
float64. Numbers by simulation also have a standard error, and their tolerance is four of them or
the oracle's digits.

Parts with training print one line per seed: the auction is learned in float32 by the library's
recipe, and judged in float64 on fresh types by its revenue, by what the best misreports found gain
a bidder, and by what no misreport can exceed. RochetNet and RegretNet face one bidder with two
items, whose optimum is known (Manelli & Vincent 2007); RegretNet also two bidders with two items,
as far as a budget of `--minutes` gets it, beside the best known auctions in closed form.
Progress goes to stderr.
"""

import argparse
import functools
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon import make
from jaxecon.algos import (
    MechanismConfig,
    build_mechanism,
    make_mechanism_designer,
    recipe,
    train_iterations,
)
from jaxecon.devices import compiler_options
from jaxecon.mechanisms import auctions
from jaxecon.mechanisms.auctions import equilibria
from jaxecon.mechanisms.base import AuctionTypes

NUM_DRAWS = 1_000_000
UNIFORM = (
    *(0.25, 0.416667, 0.53125, 0.6125, 0.671875),
    *(0.716518, 0.750977, 0.778212, 0.800195, 0.818271),
)
SIZES = ((2, 2), (2, 3), (3, 10), (5, 10))
CHUNK = 500  # iterations of training per call
NUM_REVENUE_TYPES = 1_000_000
NUM_JUDGED = 128  # types on which regret is searched for and bounded


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


@functools.cache
def trainer(kind, num_bidders):
    """(algorithm, hyperparameters, iterations, init, advance), the last two compiled."""
    env, env_params = make("AuctionDesigner-v0", num_bidders=num_bidders, num_items=2)
    settings = recipe(kind, num_agents=num_bidders)
    config = MechanismConfig(**settings.config)
    algorithm = make_mechanism_designer(env, config)
    num_iterations = settings.total_steps // config.batch_size
    hparams = jax.tree.map(jnp.float32, algorithm.hparams.replace(**settings.hparams))
    init = jax.jit(lambda key, hparams: algorithm.init(key, env_params, hparams))

    def advance(key, state, hparams, first):
        return train_iterations(
            algorithm, key, state, env_params, hparams, first_iteration=first, num_iterations=CHUNK
        )

    state = jax.eval_shape(init, jax.random.key(0), hparams)
    lowered = jax.jit(advance).lower(jax.random.key(0), state, hparams, jnp.int32(0))
    compiled = lowered.compile(compiler_options=compiler_options(jax.default_backend()))
    mechanism = build_mechanism(env, config)
    return algorithm, mechanism, hparams, config.batch_size, num_iterations, init, compiled


def train_auction(kind, num_bidders, seed, minutes=None):
    """A mechanism, its parameters, and iterations and seconds of training.

    The number of iterations is the recipe's, or what a first one of `CHUNK` promises to fit in
    `minutes`, the first included.
    """
    algorithm, mechanism, hparams, batch_size, num_iterations, init, advance = trainer(
        kind, num_bidders
    )
    key_init, key_train = jax.random.split(jax.random.key(seed))
    start = time.perf_counter()
    first = state = jax.block_until_ready(init(key_init, hparams))
    if minutes is not None:
        began = time.perf_counter()
        jax.block_until_ready(advance(key_train, state, hparams, jnp.int32(0)))
        per_chunk = time.perf_counter() - began
        left = 60.0 * minutes - (time.perf_counter() - start)
        num_iterations = CHUNK * max(1, int(left / per_chunk))
        state = first
    hparams = hparams.replace(total_steps=jnp.float32(num_iterations * batch_size))
    for done in range(0, num_iterations, CHUNK):
        state, metrics = jax.block_until_ready(advance(key_train, state, hparams, jnp.int32(done)))
        show_progress(kind, num_bidders, seed, done + CHUNK, num_iterations, start, metrics)
    return mechanism, algorithm.policy(state), num_iterations, time.perf_counter() - start


def show_progress(kind, num_bidders, seed, done, num_iterations, start, metrics):
    """One line on stderr every tenth of a run."""
    if (10 * done) // num_iterations > (10 * (done - CHUNK)) // num_iterations:
        print(
            f"{kind} {num_bidders}x2 seed {seed}: {done} of {num_iterations} iterations, "
            f"{time.perf_counter() - start:.0f} s, revenue {float(metrics['objective']):.4f}, "
            f"regret {float(metrics['exploitability']):.5f} in training",
            file=sys.stderr,
            flush=True,
        )


def learned(name, mechanism, params, types, *, high=1.0, num_refinements=64, **more):
    """One line for a trained auction on fresh types [B, N, M].

    Regret is a bidder's gain from its best misreport, a mean over bidders and the first types:
    `regret_found` is what a search reached, `regret_bound` what certainly cannot be exceeded.
    """
    start = time.perf_counter()
    judgement = auctions.judge(
        mechanism, types, params, key=jax.random.key(1), space={"valuations": (0.0, high)},
        num_judged=NUM_JUDGED, num_refinements=num_refinements,
    )  # fmt: skip
    numbers = {key: float(x) for key, x in judgement._asdict().items()}
    judge_seconds = round(time.perf_counter() - start, 1)
    result = {"bench": "auctions", "name": name} | numbers
    return result | {"num_judged": NUM_JUDGED, "judge_seconds": judge_seconds} | more


def learned_auction(kind, num_bidders, seed, minutes=None, **more):
    """Train one and judge it."""
    mechanism, params, num_iterations, seconds = train_auction(kind, num_bidders, seed, minutes)
    more |= {"seed": seed, "iterations": num_iterations, "train_seconds": round(seconds, 1)}
    with jax.enable_x64(True):
        shape = (NUM_REVENUE_TYPES, num_bidders, 2)
        types = AuctionTypes(jax.random.uniform(jax.random.key(2025), shape, float))
        if kind == "rochetnet":
            menu = jax.tree.map(lambda x: jnp.asarray(x, float), mechanism.menu(params))
            known = auctions.KNOWN_MENUS["additive"]
            more["exact_revenue"] = float(auctions.uniform_revenue(menu, known.region()))
        return learned(f"{kind}, {num_bidders} x 2", mechanism, params, types, **more)


def rochetnet(seeds, minutes):
    """A menu for one bidder and two items."""
    optimum = float(auctions.KNOWN_MENUS["additive"].revenue)
    for seed in range(seeds):
        yield learned_auction("rochetnet", 1, seed, optimum=optimum)


def regretnet_1x2(seeds, minutes):
    """The same bidder, by a network that is only nearly truthful."""
    optimum = float(auctions.KNOWN_MENUS["additive"].revenue)
    for seed in range(seeds):
        yield learned_auction("regretnet", 1, seed, optimum=optimum)


def regretnet_2x2(seeds, minutes):
    """Two bidders, two items: no optimum is known in closed form."""
    uniform = auctions.optimal_revenue(auctions.Uniform(0.0, 1.0), 2)
    bundle = auctions.optimal_revenue(auctions.UniformSum(2), 2)
    known = {"item_wise_myerson": 2.0 * float(uniform), "bundle_reserve": float(bundle)}
    for seed in range(seeds):
        yield learned_auction("regretnet", 2, seed, minutes, budget_minutes=minutes, **known)


EXACT = {"myerson": myerson, "menus": menus, "vcg": vcg, "bayes_nash": bayes_nash}
LEARNED = {
    "rochetnet": rochetnet,
    "regretnet_1x2": regretnet_1x2,
    "regretnet_2x2": regretnet_2x2,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = (*EXACT, *LEARNED)
    parser.add_argument("--part", choices=parts, action="append", help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="trained auctions of each kind")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, 2 x 2, per seed")
    options = parser.parse_args()
    for part in options.part or parts:
        if part in EXACT:
            with jax.enable_x64(True):
                for result in EXACT[part]():
                    print(json.dumps(result), flush=True)
        else:
            for result in LEARNED[part](options.seeds, options.minutes):
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
