"""What relaxed and residual networks ask of an algorithm: step sizes, penalties and measures.

Algorithms inherit `SymmetryHyperparams`, hand `rates` to the optimiser and pass the loss through
`penalised`. All of it does nothing, bit for bit, to networks without relaxed weights or free path.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.envs.base import require_count
from jaxecon.symmetry import relaxed_weight_spread, relaxed_weights
from jaxecon.symmetry.measures import RELAXED
from jaxecon.types import Array, Metrics, PyTree

SMOOTHING = 1e-3  # δ of the smooth absolute value √(x² + δ²) - δ


@struct.dataclass
class SymmetryHyperparams:
    """Traced settings of networks "relaxed", "relaxed_sets" and "rpp"; no other uses them.

    Attributes:
      relax_rate: step size of relaxed weights, as a multiple of the learning rate.
      relax_penalty: α of α Σ |w(g) - w(h)| over layers, banks and pairs of elements, in the loss.
      exact_decay, free_decay: weights in the loss of the summed squares of the two paths' weights
        in "rpp". A prior under which departures are small has the second above the first. The
        defaults are those of the published code of residual pathway priors.
    """

    relax_rate: Any = 5.0
    relax_penalty: Any = 0.0
    exact_decay: Any = 1e-6
    free_decay: Any = 1e-6


def check_network(config: Any) -> None:
    """Raise ValueError for settings that a network does not go with."""
    require_count("num_banks", config.num_banks)
    has_structure = config.network != "mlp"
    if config.normalise_observations and (has_structure or config.augment):
        what = f'network "{config.network}"' if has_structure else "augment"
        raise ValueError(
            f"normalise_observations must be False with {what}, got True: "
            "scaling each coordinate by itself breaks the symmetry. Scale in the environment, "
            "alike for all coordinates that the group mixes or all elements of the set."
        )


def rates(hparams: SymmetryHyperparams) -> dict[str, Any]:
    """Multiples of the learning rate by parameter name."""
    return {RELAXED: hparams.relax_rate}


def penalised(loss: Array, params: PyTree, hparams: SymmetryHyperparams) -> Array:
    """A loss with what `SymmetryHyperparams` adds for some weights; the loss itself if nothing."""
    rows: dict[int, list[Array]] = {}
    for weights in relaxed_weights(params).values():
        order = weights.shape[-1]
        rows.setdefault(order, []).append(jnp.reshape(weights, (-1, order)))
    for several in rows.values():  # of one length: one computation for all
        loss = loss + hparams.relax_penalty * unevenness(jnp.concatenate(several))
    paths = {"exact": hparams.exact_decay, "free": hparams.free_decay}
    for path, leaf in jax.tree.leaves_with_path(params):
        for name in (getattr(entry, "key", None) for entry in path):
            if name in paths:
                loss = loss + paths[name] * jnp.sum(jnp.square(leaf))
    return loss


def unevenness(weights: Array) -> Array:
    """Sum of the smooth |w(g) - w(h)| over all pairs of the last axis and all banks, ().

    Zero, with zero gradient, where weights are constant over the group.
    """
    gaps = weights[..., :, None] - weights[..., None, :]
    return jnp.sum(jnp.sqrt(jnp.square(gaps) + SMOOTHING**2) - SMOOTHING)


def spread_metrics(params: PyTree) -> Metrics:
    """Spread of each layer's relaxed weights by name, and their mean as `relax_spread`."""
    spread = relaxed_weight_spread(params)
    if not spread:
        return {}
    named = {f"relax_spread_{layer.replace('/', '_')}": x for layer, x in spread.items()}
    return {"relax_spread": jnp.stack(list(spread.values())).mean()} | named
