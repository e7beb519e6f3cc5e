"""How much of the exploitability of proportional fairness does a gradient attack find?

    python bench/attack_gap.py                 # about five minutes on two cores
    python bench/attack_gap.py --seeds 3 --types 64

Prints JSON lines. `attack_gap`: the attack on reported values at 2 agents and 2 resources, for
several sizes of the attack, beside a sweep over all directions of values. `exploitability`: the
mean, and the mean of the agent who gains most, over fresh types, for rules at (2, 2) and for
proportional fairness at (10, 3), attacked in values alone and in values and demands; over seeds,
with 95% intervals. Everything is scored in float64 without smoothing to speak of (1e-9).
"""

import argparse
import functools
import json
import time

import jax
import numpy as np

from jaxecon.mechanisms import (
    EqualShare,
    PartialAllocation,
    ProportionalFairness,
    SerialRule,
    attack_gap,
    draw_allocation_types,
    exploitability,
    report_space,
    simplex_candidates,
)
from jaxecon.sweeps.statistics import mean_interval

ATTACKS = (  # restarts, steps, smoothing, learning rate
    (1, 60, 1e-3, 0.1),
    (4, 60, 1e-2, 0.1),
    (4, 60, 1e-3, 0.1),
    (4, 60, 1e-4, 0.1),
    (4, 60, (1e-2, 1e-5), (0.1, 0.001)),
    (16, 200, (1e-2, 1e-4), 0.1),
    (16, 200, (1e-2, 1e-5), (0.1, 0.001)),  # the defaults
)
RULES = {
    "proportional_fairness": ProportionalFairness(),
    "partial_allocation": PartialAllocation(),
    "equal_share": EqualShare(),
    "serial_eating": SerialRule(),
}


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def draw(key, num_types, num_agents, num_resources):
    """A batch of types of the uniform prior."""
    one = lambda key: draw_allocation_types(key, num_agents, num_resources)
    return jax.vmap(one)(jax.random.split(key, num_types))


def gap(num_types, num_directions):
    """One line for each size of the attack."""
    types = draw(jax.random.key(0), num_types, 2, 2)
    space = {"valuations": (0.1, 1.0)}
    candidates = {"valuations": simplex_candidates(num_directions, least=0.1 / 1.1)}
    for num_restarts, num_steps, smoothing, learning_rate in ATTACKS:
        start = time.perf_counter()
        result = attack_gap(
            ProportionalFairness(), types, candidates, key=jax.random.key(1), space=space,
            num_restarts=num_restarts, num_steps=num_steps, num_random=0,
            smoothing=smoothing, learning_rate=learning_rate,
        )  # fmt: skip
        yield {
            "bench": "attack_gap", "num_types": num_types, "num_directions": num_directions,
            "num_restarts": num_restarts, "num_steps": num_steps, "smoothing": smoothing,
            "learning_rate": learning_rate, "mean": float(result.attack.mean()),
            "exact_mean": float(result.exact.mean()),
            "exact_max": float(result.exact.relative_gain.max()),
            "found": float(result.found), "largest_miss": float(result.largest_miss),
            "seconds_with_compilation": round(time.perf_counter() - start, 2),
        }  # fmt: skip


def measure(name, size, fields, num_seeds, num_types):
    """Mean and worst-agent exploitability of a rule over seeds."""
    space = {field: report_space()[field] for field in fields}
    start = time.perf_counter()
    attacks = [
        exploitability(RULES[name], draw(key, num_types, *size), key=key, space=space)
        for key in jax.random.split(jax.random.key(0), num_seeds)
    ]
    line = {"bench": "exploitability", "rule": name, "size": size, "fields": fields}
    line |= {"num_seeds": num_seeds, "num_types": num_types}
    for what in ("mean", "worst"):
        values = np.array([float(getattr(attack, what)()) for attack in attacks])
        middle, low, high = mean_interval(values)
        line[what] = {"mean": float(middle), "interval_95": [float(low), float(high)]}
    return line | {"seconds_with_compilation": round(time.perf_counter() - start, 2)}


def lines(num_seeds, num_types):
    """Every measurement, as it is made."""
    yield from gap(32, 400)
    values, both = ("valuations",), ("valuations", "demands")
    for name in RULES:
        for fields in (values, both):
            yield measure(name, (2, 2), fields, num_seeds, num_types)
    for fields in (values, both):
        yield measure("proportional_fairness", (10, 3), fields, num_seeds, num_types // 8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--types", type=int, default=256, help="per seed at (2, 2)")
    arguments = parser.parse_args()
    with jax.enable_x64(True):
        for line in lines(arguments.seeds, arguments.types):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
