"""What do learned mechanisms trade, fairness against exploitability? Ten seeds per row.

    python bench/mechanism_table.py                  # two agents, two resources
    python bench/mechanism_table.py --size 10x3      # small budgets, indicative only
    python bench/mechanism_table.py --seeds 2 --rows PF "ExPF-q lam 2"

Types: values and demands uniform on [0.1, 1], supply half of the expected demand. Training is in
float32; all rows are scored in float64 on the same fresh types by one attack on values and demands.
Prints one JSON line per row, means over seeds with 95% intervals, then one line of verdicts.
Progress, and how long the rest should take, go to stderr. On one busy core, a training at
2x2 and its score took half a minute (ExS), compilation apart; all rows with ten seeds are 123 runs,
so count on an hour or more.
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
from jaxecon.algos import MechanismConfig, build_mechanism, make_mechanism_designer, train
from jaxecon.mechanisms.rules import EqualShare, PartialAllocation, ProportionalFairness
from jaxecon.sweeps.statistics import mean_interval

RULES = {
    "PF": ProportionalFairness(num_iterations=40, smoothing=1e-8),
    "PA": PartialAllocation(num_iterations=40, smoothing=1e-8),
    "equal share": EqualShare(),
}
# row -> kind of mechanism, weight of exploitability
LEARNED = {
    "ExPF linear lam 2": ("expf", 2.0),
    "ExPF linear lam 4": ("expf", 4.0),
    "ExPF-q lam .5": ("expf_quadratic", 0.5),
    "ExPF-q lam 2": ("expf_quadratic", 2.0),
    "ExPF-q lam 4": ("expf_quadratic", 4.0),
    "ExPF-q lam 16": ("expf_quadratic", 16.0),
    "ExPF-q refill lam .25": ("expf_quadratic_refill", 0.25),
    "ExPF-q refill lam 1": ("expf_quadratic_refill", 1.0),
    "ExS lam 2": ("exs", 2.0),
    "ExS lam 8": ("exs", 8.0),
    "ExS refill lam .25": ("exs_refill", 0.25),
    "ExS refill lam 2": ("exs_refill", 2.0),
}
# size -> iterations, settings of training, test types, attack starts and steps
SIZES = {
    "2x2": (2400, {}, 512, 4, 60),
    "10x3": (400, {"batch_size": 16, "attack_steps": 4, "solver_iterations": 20}, 32, 2, 30),
}
METRICS = (
    "log_nash_welfare",
    "welfare_against_fair",
    "geometric_mean_utility",
    "exploitability",
    "worst_exploitability",
    "efficiency",
)


@functools.cache
def trainer(size, kind):
    """A compiled training run of one kind, for all weights and seeds."""
    num_iterations, settings, *_ = SIZES[size]
    env, env_params = environment(size)
    config = MechanismConfig(kind, **settings, num_eval_types=1, eval_restarts=1, eval_steps=1)
    algorithm = make_mechanism_designer(env, config)
    total_steps = float(num_iterations * config.batch_size)
    hparams = algorithm.hparams.replace(total_steps=total_steps)

    def run(key, weight):
        weighted = hparams.replace(exploitability_weight=weight)
        state, _ = train(algorithm, key, env_params, weighted, num_iterations=num_iterations)
        return algorithm.policy(state)

    example = (jax.random.key(0), jnp.float32(0.0))
    return jax.jit(run).lower(*example).compile(), build_mechanism(env, config)


def environment(size):
    num_agents, num_resources = map(int, size.split("x"))
    return make("AllocationDesigner-v0", num_claimants=num_agents, num_resources=num_resources)


@functools.partial(jax.jit, static_argnums=(0, 1))
def score(size, mechanism, params):
    """Metrics on fresh types, in the precision that is switched on."""
    _, _, num_types, num_restarts, num_steps = SIZES[size]
    env, env_params = environment(size)
    return env.score(
        jax.random.key(2025),
        mechanism,
        params,
        env_params,
        num_types=num_types,
        num_restarts=num_restarts,
        num_steps=num_steps,
    )


def score_in_float64(size, mechanism, params):
    with jax.enable_x64(True):
        metrics = score(size, mechanism, params)
        return {name: float(metrics[name]) for name in METRICS}


class Clock:
    """Says on stderr how many runs are done, and when the rest should be.

    Rules count as one run each and a learned row as one for each seed. The guess takes runs to
    come for as long as the mean of those done, compilation included, so it starts too high.
    """

    def __init__(self, rows, num_seeds):
        self.total = sum(1 if row in RULES else num_seeds for row in rows)
        self.done, self.start = 0, time.perf_counter()

    def tick(self, what):
        """One more run is done."""
        self.done += 1
        elapsed = time.perf_counter() - self.start
        left = elapsed / self.done * (self.total - self.done)
        print(
            f"{self.done} of {self.total} runs, {what}: {elapsed:.0f} s, about {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


def run_row(size, row, num_seeds, clock):
    """One JSON line."""
    if row in RULES:
        scores, seconds = [score_in_float64(size, RULES[row], ())], 0.0
        clock.tick(row)
    else:
        kind, weight = LEARNED[row]
        run, mechanism = trainer(size, kind)
        scores, trained = [], 0.0
        for seed in range(num_seeds):
            started = time.perf_counter()
            params = jax.block_until_ready(run(jax.random.key(seed), jnp.float32(weight)))
            trained += time.perf_counter() - started
            scores.append(score_in_float64(size, mechanism, params))
            clock.tick(f"{row}, seed {seed}")
        seconds = trained / num_seeds
    line = {"bench": "mechanism_table", "size": size, "row": row, "seeds": len(scores)}
    for name in METRICS:
        values = np.array([each[name] for each in scores])
        line[name] = float(values.mean())
        if len(values) > 1:
            interval = mean_interval(values)
            line[f"{name}_interval"] = [float(interval.low), float(interval.high)]
    return line | {"train_seconds": round(seconds, 2), "device": jax.devices()[0].device_kind}


def verdicts(lines):
    """Acceptance of the (2,2) table, on means over seeds; rows that did not run are left out."""
    value = lambda row, name: lines[row][name]
    welfare = lambda row: value(row, "log_nash_welfare")
    gain = lambda row: value(row, "exploitability")
    checks = {
        "PF exploitability in [.095, .115]": lambda: 0.095 <= gain("PF") <= 0.115,
        "ExPF-q lam 2 exploitability at most .045": lambda: gain("ExPF-q lam 2") <= 0.045,
        "ExPF-q lam 2 welfare at least PF - .07": (
            lambda: welfare("ExPF-q lam 2") >= welfare("PF") - 0.07
        ),
        "ExPF-q lam 2 beats PA on both": (
            lambda: welfare("ExPF-q lam 2") > welfare("PA") and gain("ExPF-q lam 2") < gain("PA")
        ),
        "ExS lam 2 welfare between equal share and ExPF-q lam 2": (
            lambda: welfare("equal share") < welfare("ExS lam 2") < welfare("ExPF-q lam 2")
        ),
    }
    found = {}
    for text, holds in checks.items():
        try:
            found[text] = bool(holds())
        except KeyError:
            continue
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="2x2")
    parser.add_argument("--seeds", type=int, default=10)
    rows = [*RULES, *LEARNED]
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, metavar="ROW")
    options = parser.parse_args()
    lines, clock = {}, Clock(options.rows, options.seeds)
    for row in options.rows:
        lines[row] = run_row(options.size, row, options.seeds, clock)
        print(json.dumps(lines[row]), flush=True)
    if options.size == "2x2":
        print(json.dumps({"bench": "mechanism_table", "verdicts": verdicts(lines)}), flush=True)


if __name__ == "__main__":
    main()
