"""Learning mechanisms by gradient: serve the objective, and leave liars little to gain.

    min_θ  E[-objective(f_θ)] + λ E[mean_i max(0, gain_i)]
    gain_i = max_q u_i(f_θ(q, types_-i)) - u_i(f_θ(types)),  over u_i(f_θ(types)) where relative

The best misreport q of each agent at each instance of a fixed pool is tracked by a few gradient
steps whenever its batch comes round, and held fixed while θ is moved. The pool, its misreports and
the multiplier are part of the state, so training compiles, vmaps over seeds and λ, and resumes like
any other algorithm. One instance counts as one environment step.

Environments say what there is to divide or sell and what the designer wants; see
`jaxecon.envs.mechanisms.population` for what they must offer.

Sources: Dütting, Feng, Narasimhan, Parkes & Ravindranath (2019), Optimal Auctions through Deep
Learning, for cached misreports and the augmented Lagrangian; Zeng, Bhatt, Kreacic, Hassanzadeh,
Koppel & Ganesh (2023), arXiv 2311.10927, for the objective without money.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxecon.algos.base import Algorithm
from jaxecon.algos.mechanism_config import MechanismConfig, build_mechanism
from jaxecon.algos.rollout import EpisodeTotals
from jaxecon.mechanisms.base import Mechanism
from jaxecon.mechanisms.exploitability import ascend, deviation_utility
from jaxecon.types import Array, Key, Metrics, PyTree

PROTOCOL = ("draw_types", "draw_reports", "report_space", "objective", "relative_gain", "score")


@struct.dataclass
class MechanismHyperparams:
    """Traced settings: sweep, vmap and change them at no compilation.

    Attributes:
      learning_rate: Adam's step size at the start; it falls to 0 along a cosine.
      exploitability_weight: λ at the end of a "penalty" run and the first multiplier of the
        others, in units of the objective per unit of gain.
      initial_weight: λ at the start of a "penalty" run where that is larger, see `weight_at`. It
        costs more than it gains where the pull of `ExPFQuadratic` is exp(.) and starts at 1: with
        two agents and resources, λ = 0.5 and 2,400 iterations, a start at 8 ended at an
        exploitability of 0.053, none at 0.031 (proportional fairness 0.105), welfare alike.
      warm_share: share of the run after which λ has fallen to `exploitability_weight`.
      target_exploitability: ε >= 0, gain per agent that a multiplier tolerates.
      multiplier_step: rise of the multiplier per iteration and unit of excess exploitability.
      penalty: ρ > 0, weight of the quadratic term in mode "augmented".
      smoothing: of the mechanism in training, see its `__call__`; evaluations use its own choice.
      attack_learning_rate: step size of the misreports, in units of the report space's width.
      total_steps: instances over which the learning rate falls.
    """

    learning_rate: Any = 5e-3
    exploitability_weight: Any = 2.0
    initial_weight: Any = 0.0
    warm_share: Any = 0.5
    target_exploitability: Any = 0.01
    multiplier_step: Any = 0.1
    penalty: Any = 10.0
    smoothing: Any = 1e-3
    attack_learning_rate: Any = 0.1
    total_steps: Any = 1e5


@struct.dataclass
class MechanismState:
    """What the next iteration needs; save it and nothing else to resume exactly."""

    params: PyTree
    opt_state: PyTree
    pool: Any  # types, leaves [P, N, M]
    misreports: dict[str, Array]  # each agent's own best lie so far, leaves [P, N, M]
    multiplier: Array  # ()
    iteration: Array  # () int32


def make_mechanism_designer(env: Any, config: MechanismConfig | None = None) -> Algorithm:
    """A learner of mechanisms for one environment.

    Args:
      env: an environment with a prior over types, such as "AllocationDesigner-v0".
      config: static settings.

    Returns:
      An `Algorithm`; run it with `jaxecon.algos.train`. Evaluations report what `env.score` does.

    Raises:
      TypeError: the environment offers no prior, or `act` is asked for an action that it cannot
        express.
      ValueError: the mechanism is for other types than the environment's.
    """
    config = MechanismConfig() if config is None else config
    missing = [name for name in PROTOCOL if not hasattr(env, name)]
    if missing:
        raise TypeError(
            f"{getattr(env, 'name', env)} offers no {', '.join(missing)}, which learning a "
            "mechanism needs; use AllocationDesigner-v0 or AuctionDesigner-v0."
        )
    mechanism = build_mechanism(env, config)
    return Algorithm(
        init=functools.partial(_init, env, mechanism, config),
        step=functools.partial(_step, env, mechanism, config),
        evaluate=functools.partial(_evaluate, env, mechanism, config),
        policy=lambda state: state.params,
        act=functools.partial(_act, env, mechanism),
        hparams=MechanismHyperparams(),
        steps_per_iteration=config.batch_size,
    )


def weight_at(progress: Array, hparams: MechanismHyperparams) -> Array:
    """λ of the penalty after a share `progress` of the run.

    A straight line from max(initial_weight, exploitability_weight) to exploitability_weight, which
    is reached at `warm_share`.
    """
    final = hparams.exploitability_weight
    start = jnp.maximum(hparams.initial_weight, final)
    remaining = jnp.clip(1.0 - progress / hparams.warm_share, 0.0, 1.0)
    return final + (start - final) * remaining


def positive_gain(utility: Array, deviating: Array, *, relative: bool) -> Array:
    """What a misreport brings each agent, [..., N]; 0 where it hurts.

    Args:
      utility: [..., N] under the truth, > 0 where gains are relative to it.
      deviating: [..., N] of each agent if it alone misreports.
      relative: divide by `utility`.
    """
    gain = jnp.maximum(deviating - utility, 0.0)
    return gain / jnp.maximum(utility, jnp.finfo(utility.dtype).tiny) if relative else gain


def constraint_term(
    excess: Array, weight: Array, config: MechanismConfig, hparams: MechanismHyperparams
) -> Array:
    """What a gain beyond the tolerated one costs.

    λ·excess,  or in mode "augmented" (max(0, λ + ρ·excess)² - λ²) / (2 ρ)
    """
    if config.mode != "augmented":
        return weight * excess
    shifted = jnp.maximum(weight + hparams.penalty * excess, 0.0)
    return (jnp.square(shifted) - jnp.square(weight)) / (2.0 * hparams.penalty)


def mechanism_loss(
    params: PyTree,
    types: Any,
    misreports: dict[str, Array],
    weight: Array,
    env: Any,
    mechanism: Mechanism,
    config: MechanismConfig,
    env_params: Any,
    hparams: MechanismHyperparams,
) -> tuple[Array, Metrics]:
    """Loss of one batch of instances, leaves [B, N, M], and what is worth watching about it."""
    outcome = mechanism(types, params, hparams.smoothing)
    objective = jnp.mean(env.objective(types, outcome, env_params))
    deviating = deviation_utility(mechanism, types, misreports, params, hparams.smoothing)
    gain = positive_gain(types.utility(outcome), deviating, relative=env.relative_gain)
    excess = jnp.mean(gain) - (0.0 if config.mode == "penalty" else hparams.target_exploitability)
    loss = constraint_term(excess, weight, config, hparams) - objective
    return loss, {"objective": objective, "exploitability": jnp.mean(gain), "weight": weight}


def _optimizer(hparams: MechanismHyperparams, progress: Array) -> optax.GradientTransformation:
    """Adam on the parameters as one flat vector, its rate falling along a cosine."""
    rate = hparams.learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))
    return optax.flatten(optax.adam(rate))


def _init(
    env: Any,
    mechanism: Mechanism,
    config: MechanismConfig,
    key: Key,
    env_params: Any,
    hparams: MechanismHyperparams,
) -> MechanismState:
    """A fresh mechanism, and a pool of what a designer sees; the first lies are others' reports."""
    key_params, key_types, key_reports, key_lies = jax.random.split(key, 4)
    over_pool = lambda key: jax.random.split(key, config.pool_size)
    draw = jax.vmap(env.draw_types, in_axes=(0, None))
    types = draw(over_pool(key_types), env_params)
    tell = jax.vmap(env.draw_reports, in_axes=(0, 0, None))
    pool = tell(over_pool(key_reports), types, env_params)
    lies = draw(over_pool(key_lies), env_params)
    params = mechanism.init(key_params, pool)
    weight = jnp.asarray(hparams.exploitability_weight, jnp.result_type(float))
    return MechanismState(
        params=params,
        opt_state=_optimizer(hparams, jnp.zeros(())).init(params),
        pool=pool,
        misreports={name: getattr(lies, name) for name in env.report_space(env_params)},
        multiplier=weight,
        iteration=jnp.int32(0),
    )


def _step(
    env: Any,
    mechanism: Mechanism,
    config: MechanismConfig,
    key: Key,
    state: MechanismState,
    env_params: Any,
    hparams: MechanismHyperparams,
) -> tuple[MechanismState, dict[str, Any]]:
    """Improve a batch's misreports, then the mechanism; batches come round in a fixed order."""
    start = (state.iteration * config.batch_size) % config.pool_size
    cut = lambda x: jax.lax.dynamic_slice_in_dim(x, start, config.batch_size)
    types = jax.tree.map(cut, state.pool)
    misreports = ascend(
        mechanism,
        types,
        jax.tree.map(cut, state.misreports),
        state.params,
        space=env.report_space(env_params),
        num_steps=config.attack_steps,
        learning_rate=hparams.attack_learning_rate,
        smoothing=hparams.smoothing,
    )
    misreports = jax.lax.stop_gradient(misreports)
    progress = state.iteration.astype(float) * config.batch_size / hparams.total_steps
    is_penalty = config.mode == "penalty"
    weight = weight_at(progress, hparams) if is_penalty else state.multiplier
    gradient, metrics = jax.grad(mechanism_loss, has_aux=True)(
        state.params, types, misreports, weight, env, mechanism, config, env_params, hparams
    )
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        updates, opt_state = _optimizer(hparams, progress).update(
            gradient, state.opt_state, state.params
        )
    excess = metrics["exploitability"] - hparams.target_exploitability
    put = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, start, 0)
    state = MechanismState(
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
        pool=state.pool,
        misreports=jax.tree.map(put, state.misreports, misreports),
        multiplier=jnp.maximum(state.multiplier + hparams.multiplier_step * excess, 0.0),
        iteration=state.iteration + 1,
    )
    count = jnp.asarray(config.batch_size, float)
    totals = EpisodeTotals(count, count * metrics["objective"], count)
    return state, metrics | {"episodes": totals}


def _evaluate(
    env: Any,
    mechanism: Mechanism,
    config: MechanismConfig,
    key: Key,
    state: MechanismState,
    env_params: Any,
) -> Metrics:
    """The environment's score of the mechanism on fresh types."""
    return env.score(
        key,
        mechanism,
        state.params,
        env_params,
        num_types=config.num_eval_types,
        num_restarts=config.eval_restarts,
        num_steps=config.eval_steps,
    )


def _act(
    env: Any,
    mechanism: Mechanism,
    key: Key,
    policy: PyTree,
    obs: Array,
    mask: Array | None,
    env_params: Any,
) -> Array:
    """Actions [B, ...] of a learned mechanism for the reports in observations [B, ...]."""
    if not hasattr(env, "to_action"):
        raise TypeError(
            f"{env.name} has no action for a mechanism's outcome; call the mechanism itself."
        )
    reports = env.read_reports(obs, env_params)
    return env.to_action(mechanism(reports, policy), reports)
