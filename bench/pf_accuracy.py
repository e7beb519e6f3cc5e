"""How exact proportional fairness is: iterations, certified gaps, another solver, gradients, nan.

    python bench/pf_accuracy.py            # about three minutes on one core

Prints one JSON line per cell of size and problem kind, all in float64 unless said otherwise:
  iterations   Newton steps until the certified duality gap per agent is below 1e-6 and 1e-8
               (median, 99th percentile, maximum over 200 problems), with the largest final gap
  clarabel     cvxpy + Clarabel at tolerances 1e-11 on the first problems: largest relative distance
               of utilities, and the certified gap of each side
  gradients    relative error against central differences along random directions in all six inputs
  float32      non-finite numbers and convergence over 100,000 hard problems
"""

import json
import time

import cvxpy
import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers import proportional_fairness
from jaxecon.solvers.central_path import Problem, duality_gap, newton_step, start_point

SIZES = [(2, 2), (10, 3), (50, 10)]
KINDS = ("capped", "uncapped", "hard")
NUM_PROBLEMS = 200
NUM_STEPS = 40
SMOOTHING = 1e-10


def problems(kind, num_agents, num_resources, num=NUM_PROBLEMS, seed=0):
    """(valuations, demands, supplies, weights) of the specification's distributions."""
    draw = np.random.default_rng(seed)
    shape = (num, num_agents, num_resources)
    valuations, demands = draw.uniform(0.05, 1.0, shape), draw.uniform(0.1, 1.0, shape)
    weights = np.ones(shape[:2])
    supplies = draw.uniform(0.3, 0.8, (num, num_resources)) * demands.sum(1)
    if kind == "uncapped":
        demands, supplies = np.full(shape, 2.0), np.ones((num, num_resources))
    if kind == "hard":  # lognormal values with zeros, weights over two decades, slack supplies
        valuations = draw.lognormal(size=shape) * (draw.uniform(size=shape) > 0.3)
        valuations[valuations.sum(-1) == 0] = 1.0
        weights = 10 ** draw.uniform(-1, 1, shape[:2])
        supplies = draw.uniform(0.3, 1.5, (num, num_resources)) * demands.sum(1)
    return valuations, demands, supplies, weights


@jax.jit
def gaps_by_step(valuations, demands, supplies, weights):
    """[NUM_STEPS, B] certified gap over the sum of weights after each Newton step."""
    values = valuations * supplies[:, None]
    scaled = Problem(
        values / values.sum(-1, keepdims=True),
        jnp.minimum(demands / supplies[:, None], 2.0),
        weights / weights.mean(-1, keepdims=True),
        jnp.zeros_like(values),
        jnp.zeros_like(values),
        jnp.full(values.shape[0], SMOOTHING),
    )
    front = lambda tree: jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), tree)
    last = jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), scaled)

    def step(carry, _):
        point, is_active = newton_step(last, *carry)
        return (point, is_active), duality_gap(scaled, front(point)) / weights.shape[1]

    start = (start_point(last), jnp.ones(values.shape[0], bool))
    return jax.lax.scan(step, start, None, length=NUM_STEPS)[1]


def iterations(kind, size):
    """Steps until the gap per unit of weight falls below a bound."""
    gaps = np.asarray(gaps_by_step(*problems(kind, *size)))
    line = {"largest_final_gap": float(gaps[-1].max())}
    for bound in (1e-6, 1e-8):
        steps = 1 + (gaps >= bound).sum(0)
        quantiles = np.quantile(steps, [0.5, 0.99, 1.0], method="higher")
        line[f"steps_to_{bound:g}"] = [int(q) for q in quantiles]
    return line


def clarabel(kind, size, num):
    """Distance to a general-purpose conic solver, and whose certificate is tighter."""
    inputs = problems(kind, *size, num=num)
    start = time.perf_counter()
    solution = proportional_fairness(*inputs, smoothing=1e-12)
    utility = np.asarray((inputs[0] * solution.value).sum(-1))
    distances, gaps, seconds = [], [], []
    for i, (v, x, b, w) in enumerate(zip(*inputs, strict=True)):
        a = cvxpy.Variable(v.shape, nonneg=True)
        welfare = w @ cvxpy.log(cvxpy.sum(cvxpy.multiply(v, a), axis=1))
        limits = [a <= x, cvxpy.sum(a, axis=0) <= b]
        program = cvxpy.Problem(cvxpy.Maximize(welfare), limits)
        start = time.perf_counter()
        program.solve(cvxpy.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
        seconds.append(time.perf_counter() - start)
        found = np.clip(a.value, 0.0, x)
        found *= np.minimum(1.0, b / found.sum(0))
        other = (v * found).sum(-1)
        distances.append(np.max(np.abs(utility[i] / other - 1.0)))
        slope = (w / other)[:, None] * v
        price = np.maximum(limits[1].dual_value, 0.0)
        worth = (x * np.maximum(slope - price, 0.0) - slope * found).sum() + price @ b
        gaps.append(worth / w.sum())
    ours = np.asarray(solution.gap) / inputs[3].sum(-1)
    return {
        "problems": num,
        "utility_distance_median_max": [float(np.median(distances)), float(np.max(distances))],
        "gap_clarabel_median_max": [float(np.median(gaps)), float(np.max(gaps))],
        "gap_jaxecon_median_max": [float(np.median(ours)), float(ours.max())],
        "clarabel_ms_per_problem": round(1e3 * float(np.median(seconds)), 2),
    }


def gradients(kind, size, num=24, num_directions=4):
    """Relative error of directional derivatives at three smoothings, all six inputs at once."""
    draw = np.random.default_rng(1)
    names = ("valuations", "demands", "supplies", "weights", "linear_cost", "quadratic_cost")
    v, x, b, w = problems(kind, *size, num=num, seed=2)
    costs = 0.1 * draw.normal(size=v.shape), draw.uniform(0.1, 0.3, v.shape)
    inputs = dict(zip(names, (v, 0.95 * x, b, w, *costs), strict=True))
    weight = draw.normal(size=v.shape)

    @jax.jit
    def score(inputs, mu):
        return (proportional_fairness(**inputs, smoothing=mu).value * weight).sum((1, 2))

    slope_of = jax.jit(jax.grad(lambda inputs, mu: score(inputs, mu).sum()))
    line = {}
    for mu in (1e-3, 1e-5, 1e-7):
        slope, errors = slope_of(inputs, mu), []
        for _ in range(num_directions):
            direction = {name: draw.uniform(-1, 1, array.shape) for name, array in inputs.items()}
            shifted = lambda t, d=direction: {n: inputs[n] + t * d[n] for n in names}
            numeric = np.asarray(score(shifted(3e-7), mu) - score(shifted(-3e-7), mu)) / 6e-7
            exact = sum((slope[n] * direction[n]).reshape(num, -1).sum(1) for n in names)
            errors.append(np.abs(exact - numeric) / np.abs(numeric))
        line[f"{mu:g}"] = [float(np.median(errors)), float(np.max(errors))]
    return {"relative_error_median_max": line}


def single_precision(size, num=100_000, at_once=20_000):
    """Hard problems in float32: what is not finite, what did not converge."""
    solve = jax.jit(proportional_fairness)
    bad = unconverged = 0
    largest = 0.0
    for seed in range(num // at_once):
        inputs = [x.astype(np.float32) for x in problems("hard", *size, num=at_once, seed=seed)]
        solution = solve(*inputs)
        bad += sum(int((~np.isfinite(leaf)).sum()) for leaf in solution)
        unconverged += int((~solution.converged).sum())
        largest = max(largest, float((solution.gap / inputs[3].sum(-1)).max()))
    return {
        "problems": num,
        "non_finite": bad,
        "not_converged": unconverged,
        "largest_gap": largest,
    }


def main():
    jax.config.update("jax_enable_x64", True)
    about = {
        "bench": "pf_accuracy",
        "jax": jax.__version__,
        "clarabel": "cvxpy " + cvxpy.__version__,
    }
    show = lambda **line: print(json.dumps(about | line), flush=True)
    for size in SIZES:
        label = "x".join(map(str, size))
        for kind in KINDS:
            show(size=label, kind=kind, **iterations(kind, size))
        for kind in KINDS[:2]:
            num = 200 if size != SIZES[-1] else 20
            show(size=label, kind=kind, **clarabel(kind, size, num))
            show(size=label, kind=kind, **gradients(kind, size))
        if size != SIZES[-1]:
            show(size=label, kind="hard, float32", **single_precision(size))


if __name__ == "__main__":
    main()
