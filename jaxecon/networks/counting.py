"""How many weights a network has, and sizes under which another one has as many."""

import math
from collections.abc import Callable
from typing import Any

import jax


def count_parameters(network: Any) -> int:
    """Number of weights that `network.init(key)` makes; nothing is computed."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def matched_sizes(
    make: Callable[[tuple[int, ...]], Any],
    target: int,
    num_layers: int = 2,
    tolerance: float = 0.1,
) -> tuple[int, ...]:
    """Hidden sizes under which a network has about as many weights as another one.

        make = lambda sizes: make_actor_critic(env, env_params, sizes, network="relaxed")
        matched_sizes(make, count_parameters(make_actor_critic(env, env_params, (64, 64))))

    Args:
      make: hidden sizes -> network.
      target: number of weights to meet.
      num_layers: of equal size, except that the last ones may have one more.
      tolerance: largest relative difference.

    Raises:
      ValueError: no such sizes come close enough.
    """
    count = lambda sizes: count_parameters(make(sizes))
    low, high = 1, 2
    while count((high,) * num_layers) <= target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count((middle,) * num_layers) <= target else (low, middle)
    candidates = [
        (low,) * (num_layers - extra) + (low + 1,) * extra for extra in range(num_layers + 1)
    ]
    sizes = min(candidates, key=lambda sizes: abs(count(sizes) - target))
    if abs(count(sizes) - target) > tolerance * target:
        raise ValueError(
            f"target must be within {tolerance:.0%} of what some size gives, got {target}; the "
            f"nearest, {sizes}, has {count(sizes)} weights."
        )
    return sizes
