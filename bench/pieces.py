"""What do the pieces that replace a compiler's default gain on this device?

    python bench/pieces.py                  # all of them, about two minutes
    python bench/pieces.py --seconds 0.05

Prints one JSON line per piece and size: microseconds per call of jaxecon's version (`ours`) and of
the plain one (`baseline`), and `ratio`, the baseline's time over ours. Calls run inside a compiled
loop. Each depends on the result of the one before, so that none can be hoisted or skipped, through
single elements written in place, which cost next to nothing.
"""

import argparse
import json

import jax
import jax.numpy as jnp

from jaxecon.algos import returns, shuffle
from jaxecon.benchmark import measure_rounds
from jaxecon.networks import layers

SCAN_LENGTH = 8  # calls in one round
NUM_FEATURES = 64


def repeated(call):
    """run(num_rounds, carry): a loop over `call`, which maps a carry to the next."""

    def run(num_rounds, carry):
        def several(_, carry):
            return jax.lax.scan(lambda carry, _: (call(carry), None), carry, length=SCAN_LENGTH)[0]

        return jax.lax.fori_loop(0, num_rounds, several, carry)

    return run


def compare(piece, ours, baseline, carry, seconds, repeats, **sizes):
    """One line: two named calls on the same carry. `ours` and `baseline` are (name, call)."""
    measured = [
        measure_rounds(repeated(call), carry, steps=SCAN_LENGTH, seconds=seconds, repeats=repeats)
        for _, call in (ours, baseline)
    ]
    first, second = ({
        "name": name,
        "microseconds": 1e6 / line["steps_per_s"],
        "spread": [1e6 / rate for rate in reversed(line["spread"])],
        "compile_s": line["compile_s"],
    } for (name, _), line in zip((ours, baseline), measured, strict=True))  # fmt: skip
    return {
        "bench": "pieces", "piece": piece, **sizes, "ours": first, "baseline": second,
        "ratio": second["microseconds"] / first["microseconds"],
        **{name: measured[0][name] for name in ("repeats", "device", "num_cores", "versions")},
    }  # fmt: skip


def touch(array, index, result):
    """`array` with a tiny share of `result`'s first element added at one place."""
    return array.at[index].add(1e-6 * jnp.tanh(result[0, 0]))


def weight_gradient(batch, width, seconds, repeats=7):
    """xᵀg for x [batch, 64] and g [batch, width], as `layers.dense` has it on CPUs."""
    key_x, key_g = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (batch, NUM_FEATURES))
    g = jax.random.normal(key_g, (batch, width))

    def call_of(product):
        def call(carry):
            x, g, last = carry
            x, g = touch(x, (0, 0), last), touch(g, (0, 0), last)
            return x, g, product(x, g)

        return call

    return compare(
        "weight_gradient",
        ("ordered for CPUs", call_of(layers._weight_gradient_cpu)),
        ("left to the compiler", call_of(layers._weight_gradient)),
        (x, g, jnp.zeros((NUM_FEATURES, width))),
        seconds, repeats, batch=batch, num_features=NUM_FEATURES, width=width,
    )  # fmt: skip


def shuffling(size, seconds, repeats=7):
    """A random order of 0..size-1, from a fresh key each time."""

    def call_of(kind):
        def call(carry):
            key, order = carry
            key = jax.random.fold_in(key, order[0])
            return key, shuffle.permutation(key, size, kind)

        return call

    return compare(
        "shuffle",
        ("keyed bijection", call_of("bijection")),
        ("jax.random.permutation", call_of("sort")),
        (jax.random.key(0), jnp.arange(size, dtype=jnp.int32)),
        seconds, repeats, size=size,
    )  # fmt: skip


def backward_recursion(length, batch, seconds, repeats=7):
    """y_t = x_t + decay_t y_{t+1} over [length, batch]; ours is the version for CPUs."""
    key_x, key_decay = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (length, batch))
    decay = jax.random.uniform(key_decay, (length, batch), minval=0.8, maxval=0.99)

    def call_of(recursion):
        def call(carry):
            x, decay, last = carry
            x, decay = touch(x, (-1, 0), last), touch(decay, (-1, 0), last)
            return x, decay, recursion(x, decay)

        return call

    return compare(
        "backward_recursion",
        ("loop", call_of(returns._backward_loop)),
        ("associative scan", call_of(returns._backward_scan)),
        (x, decay, jnp.zeros((length, batch))),
        seconds, repeats, length=length, batch=batch,
    )  # fmt: skip


def lines(seconds):
    """Every measurement, as it is made."""
    for batch in (128, 2048):
        for width in (64, 2, 1):
            yield weight_gradient(batch, width, seconds)
    for size in (512, 8192):
        yield shuffling(size, seconds)
    for batch in (4, 64, 1024):
        yield backward_recursion(128, batch, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of a timed call")
    for line in lines(parser.parse_args().seconds):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
