"""What an algorithm is, and the one loop that runs any of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array, Key, Metrics, PyTree


class Algorithm(NamedTuple):
    """Three pure functions; see `jaxecon.algos.ppo.make_ppo` for one.

    Attributes:
      init: (key, env_params, hparams) -> state.
      step: (key, state, env_params, hparams) -> (state, metrics), one training iteration.
      evaluate: (key, state, env_params) -> metrics of whole episodes in separate environments.
      policy: state -> the part of it that acting needs, worth saving.
      act: (key, policy, obs, mask, env_params) -> actions [B, ...] for observations [B, ...].
      hparams: default hyperparameters, a pytree of scalars.
      steps_per_iteration: environment steps that one `step` takes.
    """

    init: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, Metrics]]
    evaluate: Callable[..., Metrics]
    policy: Callable[[PyTree], PyTree]
    act: Callable[..., Array]
    hparams: Any
    steps_per_iteration: int


def train_iterations(
    algorithm: Algorithm,
    key: Key,
    state: PyTree,
    env_params: Any,
    hparams: Any,
    *,
    first_iteration: Array | int,
    num_iterations: int,
) -> tuple[PyTree, Metrics]:
    """Run iterations first .. first + num - 1; return the state and the mean of their metrics.

    Iteration i uses `fold_in(key, i)`, so a run cut into segments equals the uncut one.
    Metrics are scalars of each iteration, averaged at the end; the entry "episodes"
    (`EpisodeTotals`) is summed, so that its means weigh every finished episode alike.
    """

    def iteration(state: PyTree, i: Array) -> tuple[PyTree, Metrics]:
        return algorithm.step(jax.random.fold_in(key, i), state, env_params, hparams)

    indices = jnp.asarray(first_iteration, jnp.int32) + jnp.arange(num_iterations, dtype=jnp.int32)
    state, metrics = jax.lax.scan(iteration, state, indices)
    episodes = jax.tree.map(jnp.sum, metrics.pop("episodes"))
    return state, {name: x.mean() for name, x in metrics.items()} | episodes.means()


def train(
    algorithm: Algorithm,
    key: Key,
    env_params: Any,
    hparams: Any,
    *,
    num_iterations: int,
    num_evaluations: int = 1,
) -> tuple[PyTree, Metrics]:
    """Train from scratch, evaluating at equal distances; a pure function to jit and vmap.

    Args:
      algorithm: such as `make_ppo(env, config)`.
      key: PRNG key; the same key gives the same result bit for bit on one device.
      env_params: the economy; vmap over it to train across economies.
      hparams: traced hyperparameters; vmap over them to sweep.
      num_iterations: total training iterations, a multiple of `num_evaluations`.
      num_evaluations: E.

    Returns:
      The final state, and metrics with leaves [E, ...]: the algorithm's own, averaged since the
      previous evaluation under "train/", and those of the evaluation under "evaluation/".

    Raises:
      ValueError: the iterations do not divide into the evaluations.
    """
    if num_evaluations < 1 or num_iterations % num_evaluations:
        raise ValueError(
            f"num_iterations must be a positive multiple of num_evaluations={num_evaluations}, "
            f"got {num_iterations}."
        )
    per_segment = num_iterations // num_evaluations
    key_init, key_train, key_evaluate = jax.random.split(key, 3)

    def segment(state: PyTree, index: Array) -> tuple[PyTree, Metrics]:
        state, metrics = train_iterations(
            algorithm,
            key_train,
            state,
            env_params,
            hparams,
            first_iteration=index * per_segment,
            num_iterations=per_segment,
        )
        evaluation = algorithm.evaluate(jax.random.fold_in(key_evaluate, index), state, env_params)
        return state, prefixed("train", metrics) | prefixed("evaluation", evaluation)

    state = algorithm.init(key_init, env_params, hparams)
    return jax.lax.scan(segment, state, jnp.arange(num_evaluations, dtype=jnp.int32))


def prefixed(prefix: str, metrics: Metrics) -> Metrics:
    """The same metrics with "prefix/" before each name."""
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
