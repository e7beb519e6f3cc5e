"""How fair are the rules of sequential allocation, and how fast are they played?

    python bench/seqalloc.py                     # everything, a few minutes
    python bench/seqalloc.py hope speed          # parts: hope, table, waterfill, speed

Prints JSON lines. hope: the published single-resource rules at two sizes. table: all rules in the
four standard settings, with the acceptance checks (a) to (d). waterfill: nanoseconds per problem of
both methods. speed: environment steps per second of SAFFE-D, on one core and on all, against NumPy
vectorised over episodes and against one episode at a time.
"""

import argparse
import json
import statistics
import time

import numpy as np

from jaxecon.devices import compiler_options, num_cores, over_devices, use_all_cores

use_all_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from jaxecon.envs.allocation import percapita  # noqa: E402
from jaxecon.envs.allocation.draws import draw_episodes  # noqa: E402
from jaxecon.envs.allocation.registry import FRONT, ORACLES, RULES  # noqa: E402
from jaxecon.envs.allocation.settings import (  # noqa: E402
    GROUPS,
    make_sequential_allocation,
)
from jaxecon.envs.allocation.simulate import play  # noqa: E402
from jaxecon.solvers.waterfill import METHODS, waterfill  # noqa: E402
from jaxecon.sweeps.allocation import compare, wide_table  # noqa: E402

DISCOUNT = 0.25
BLOCK = 256


def hope():
    """Measures of the per-head rules, n = 1 + Poisson(1/2) people a step, budget 1.5 a step."""
    for num_steps, num_runs in ((500, 2000), (100, 4000)):
        key = jax.random.key(num_steps)
        people = 1.0 + jax.random.poisson(key, 0.5, (num_steps, num_runs)).astype(float)
        mean = jnp.full(num_steps, 1.5)
        budget = jnp.full(num_runs, 1.5 * num_steps)
        for name, rule in percapita.PER_CAPITA_RULES.items():
            amounts = percapita.play_per_capita(rule, people, mean, mean, budget)
            measures = percapita.per_capita_measures(amounts, people, budget)
            line = {"bench": "hope", "steps": num_steps, "runs": num_runs, "rule": name}
            yield line | {k: round(float(v), 4) for k, v in measures.items()}


def table(episodes):
    """Means of every rule in every setting, then the acceptance checks."""
    passed = {}
    start = time.perf_counter()
    for setting in GROUPS["all"]:
        env, params = make_sequential_allocation(setting)
        count = 4 * episodes if setting == "sparse_symmetric" else episodes
        results = compare(env, params, num_episodes=count)
        wide = wide_table(results)
        for rule, row in wide.iterrows():
            line = {"bench": "table", "setting": setting, "episodes": count, "rule": rule}
            yield line | {k: round(float(v), 5) for k, v in row.items()}
        passed |= checks(setting, results, wide)
    yield {
        "bench": "acceptance", **passed, "seconds": round(time.perf_counter() - start, 1),
        "cores": num_cores(),
    }  # fmt: skip


def checks(setting, results, wide):
    """The acceptance checks (a) to (d) in one setting."""
    gap = results[results["metric"] == "log_nash_gap"].set_index("rule")
    rivals = [name for name in RULES if name not in (*ORACLES, *FRONT, "saffe_d")]
    if setting == "dense_symmetric":
        rivals.remove("saffe")  # a tie is allowed
    found = {
        "a_oracle": bool(wide.loc[list(ORACLES), "log_nash_gap"].abs().max() <= 1e-6),
        "b_best": bool((gap.loc[rivals, "difference_high"] < 0.0).all()),
        "b_margin": round(float(-gap.loc[rivals, "difference_high"].max()), 5),
    }
    if setting.startswith("dense"):
        found["c_dense"] = bool(wide.loc["saffe_d", "mean_deviation"] <= 0.005)
    else:
        ratio = wide.loc["saffe_d_front", "log_nash_gap"] / wide.loc["saffe_d", "log_nash_gap"]
        found["d_front_halves"] = bool(ratio <= 0.5)
    return {f"{setting}.{name}": value for name, value in found.items()}


def timed(run, *arguments, repeats=7):
    """Seconds of each call after a warm-up, and of compilation."""
    start = time.perf_counter()
    compiled = jax.jit(run).lower(*arguments).compile(compiler_options=compiler_options("cpu"))
    compile_s = time.perf_counter() - start
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    return seconds, compile_s


def waterfill_times():
    """Both methods, float32, weights 1, half of demand covered."""
    generator = np.random.default_rng(0)
    for num_agents, count in ((20, 2048), (50, 2048), (340, 256)):
        given, demand = generator.uniform(0, 2, (2, count, num_agents)).astype(np.float32)
        weight = np.ones_like(demand)
        budget = 0.5 * demand.sum(-1)
        for method in METHODS:
            solve = lambda *problem, method=method: waterfill(*problem, method=method).value
            seconds, _ = timed(solve, given, demand, weight, budget)
            yield {
                "bench": "waterfill", "method": method, "agents": num_agents, "problems": count,
                "ns_per_problem": round(1e9 * statistics.median(seconds) / count),
            }  # fmt: skip


def speed(blocks):
    """Steps per second of SAFFE-D in sparse_symmetric, demand drawn on the way."""
    env, params = make_sequential_allocation("sparse_symmetric")
    steps = blocks * BLOCK * env.num_steps
    rule = RULES["saffe_d"]

    def run(keys):
        def block(key):
            episodes = draw_episodes(key, env, params, BLOCK)
            return jnp.sum(play(env, params, rule, jnp.float32(DISCOUNT), episodes).given, axis=1)

        return jax.lax.map(block, keys)

    keys = jax.random.split(jax.random.key(0), blocks)
    results = {
        "jax, one core": timed(run, keys),
        "jax, all cores": timed(over_devices(run), keys),
        "jax, one core, rbg keys": timed(
            run, jax.random.split(jax.random.key(0, impl="unsafe_rbg"), blocks)
        ),
    }
    for name, (seconds, compile_s) in results.items():
        rates = sorted(steps / s for s in seconds)
        yield {
            "bench": "speed", "what": name, "agents": env.num_agents_served, "dtype": "float32",
            "steps_per_s": round(statistics.median(rates)), "spread": [round(rates[0]),
            round(rates[-1])], "compile_s": round(compile_s, 2), "cores": num_cores(),
        }  # fmt: skip
    for name, function, count in (
        ("numpy over episodes", numpy_batch, 2048),
        ("numpy, one episode at a time", numpy_loop, 20),
    ):
        rates = []
        for _ in range(3):
            start = time.perf_counter()
            function(env, params, count)
            rates.append(count * env.num_steps / (time.perf_counter() - start))
        yield {
            "bench": "speed", "what": name, "agents": env.num_agents_served, "dtype": "float32",
            "steps_per_s": round(statistics.median(rates)),
        }  # fmt: skip


def numpy_tables(env, params):
    """(p, F, S) of the default economy, whose sizes have mean 1 and deviation 0.3."""
    probability = np.asarray(params.arrival_probability)
    later = lambda x: np.cumsum(x[::-1], axis=0)[::-1] - x
    return probability, later(probability), np.sqrt(later(probability * 1.09 - probability**2))


def numpy_batch(env, params, count):
    """SAFFE-D over `count` episodes at once, water-filling by sorting."""
    generator = np.random.default_rng(0)
    probability, mean, deviation = numpy_tables(env, params)
    given = np.zeros((count, env.num_agents_served), np.float32)
    left = np.full(count, float(params.budget), np.float32)
    for t in range(env.num_steps):
        arrives = generator.random(given.shape, np.float32) < probability[t]
        size = np.maximum(1.0 + 0.3 * generator.standard_normal(given.shape, np.float32), 0.05)
        request = np.where(arrives, size, 0.0).astype(np.float32)
        demand = request + np.maximum(mean[t] - DISCOUNT * deviation[t], 0.0)
        planned = numpy_waterfill(given, demand, left)
        amount = planned * request / np.maximum(demand, 1e-30)
        given += amount
        left = np.maximum(left - amount.sum(1), 0.0)
    return given


def numpy_waterfill(given, demand, budget):
    """Rows of the offline program by sorted breakpoints."""
    levels = np.concatenate([given, given + demand], axis=1)
    order = np.argsort(levels, axis=1)
    changes = np.concatenate([np.ones_like(given), -np.ones_like(given)], axis=1)
    levels = np.take_along_axis(levels, order, axis=1)
    slopes = np.cumsum(np.take_along_axis(changes, order, axis=1), axis=1)[:, :-1]
    reached = np.cumsum(slopes * np.diff(levels, axis=1), axis=1)
    reached = np.concatenate([np.zeros_like(reached[:, :1]), reached], axis=1)
    segment = np.minimum((reached <= budget[:, None]).sum(1) - 1, slopes.shape[1] - 1)
    row = np.arange(len(given))
    step = (budget - reached[row, segment]) / np.maximum(slopes[row, segment], 1.0)
    level = np.minimum(levels[row, segment] + step, levels[:, -1])
    return np.clip(level[:, None] - given, 0.0, demand)


def numpy_loop(env, params, count):
    """SAFFE-D one episode after the other, the level by 40 bisections in plain Python."""
    generator = np.random.default_rng(0)
    probability, mean, deviation = numpy_tables(env, params)
    for _ in range(count):
        given, left = [0.0] * env.num_agents_served, float(params.budget)
        for t in range(env.num_steps):
            demand, request = [], []
            for i in range(env.num_agents_served):
                size = max(1.0 + 0.3 * generator.standard_normal(), 0.05)
                request.append(size if generator.random() < probability[t, i] else 0.0)
                demand.append(request[-1] + max(mean[t, i] - DISCOUNT * deviation[t, i], 0.0))
            low, high = 0.0, max(p + y for p, y in zip(given, demand, strict=True))
            for _ in range(40):
                level = 0.5 * (low + high)
                used = sum(min(max(level - p, 0.0), y) for p, y in zip(given, demand, strict=True))
                low, high = (level, high) if used < left else (low, level)
            for i, (p, y, x) in enumerate(zip(given, demand, request, strict=True)):
                amount = min(max(high - p, 0.0), y) * x / y if y > 0.0 else 0.0
                given[i] += amount
                left -= amount


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("hope", "table", "waterfill", "speed")
    parser.add_argument("parts", nargs="*", default=parts, help=", ".join(parts))
    parser.add_argument("--episodes", type=int, default=512, help="of the table")
    parser.add_argument("--blocks", type=int, default=32, help="of 256 episodes, timed at once")
    arguments = parser.parse_args()
    lines = {
        "hope": hope,
        "table": lambda: table(arguments.episodes),
        "waterfill": waterfill_times,
        "speed": lambda: speed(arguments.blocks),
    }
    for part in arguments.parts:
        for line in lines[part]():
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
