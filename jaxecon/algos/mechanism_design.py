"""Learning mechanisms by gradient: serve the objective, and leave liars little to gain.

    min_θ  E[-objective(f_θ)] + λ E[mean_i max(0, gain_i)]
    gain_i = max_q u_i(f_θ(q, types_-i)) - u_i(f_θ(types)),  over u_i(f_θ(types)) where relative

The best misreport q of each agent at each instance of a fixed pool is tracked by a few gradient
steps whenever its batch comes round, and held fixed while θ is moved. The pool, its misreports and
the multiplier are part of the state, so training compiles, vmaps over seeds and λ, and resumes like
any other algorithm. One instance counts as one environment step. How λ is chosen:
`jaxecon.algos.mechanism_penalty`; what has worked: `jaxecon.algos.mechanism_recipes`.

Environments say what there is to divide or sell and what the designer wants; see
`jaxecon.envs.mechanisms.population` for what they must offer.

Sources: Dütting, Feng, Narasimhan, Parkes & Ravindranath (2019), Optimal Auctions through Deep
Learning, for cached misreports and the augmented Lagrangian; Ivanov, Safiulin, Filippov &
Balabaeva (2022), Optimal-er Auctions through Attention, NeurIPS, for the multiplier of "log_ratio";
Zeng, Bhatt, Kreacic, Hassanzadeh, Koppel & Ganesh (2023), arXiv 2311.10927, for the objective
without money.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxecon.algos import optimizers
from jaxecon.algos.base import Algorithm
from jaxecon.algos.mechanism_config import MechanismConfig, build_mechanism
from jaxecon.algos.mechanism_penalty import (
    MechanismHyperparams,
    constraint_term,
    excess_gain,
    next_multiplier,
    positive_gain,
    weight_at,
)
from jaxecon.algos.rollout import EpisodeTotals
from jaxecon.mechanisms.base import Mechanism
from jaxecon.mechanisms.exploitability import ascend, deviation_utility
from jaxecon.types import Array, Key, Metrics, PyTree

PROTOCOL = ("draw_types", "draw_reports", "report_space", "objective", "relative_gain", "score")


@struct.dataclass
class MechanismState:
    """What the next iteration needs; save it and nothing else to resume exactly."""

    params: PyTree
    opt_state: PyTree
    pool: Any  # types, leaves [P, N, M]; None where every batch is fresh
    misreports: dict[str, Array]  # each agent's own best lie so far, leaves [P, N, M]; or {}
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
      ValueError: the mechanism is for other types than the environment's, or mode "log_ratio" is
        asked for where objective and gains have different units.
    """
    config = MechanismConfig() if config is None else config
    missing = [name for name in PROTOCOL if not hasattr(env, name)]
    if missing:
        raise TypeError(
            f"{getattr(env, 'name', env)} offers no {', '.join(missing)}, which learning a "
            "mechanism needs; use AllocationDesigner-v0 or AuctionDesigner-v0."
        )
    if config.mode == "log_ratio" and env.relative_gain:
        raise ValueError(
            f"mode must be 'penalty', 'lagrangian' or 'augmented' in {env.name}, got 'log_ratio', "
            "which compares gains with an objective in the same units, such as revenue."
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
    utility = deviating = types.utility(outcome)
    if config.attack_steps:
        deviating = deviation_utility(mechanism, types, misreports, params, hparams.smoothing)
    gain = positive_gain(utility, deviating, relative=env.relative_gain)
    excess = excess_gain(gain, config, hparams)
    loss = constraint_term(excess, weight, config, hparams) - objective
    return loss, {"objective": objective, "exploitability": jnp.mean(gain), "weight": weight}


def _draw(
    env: Any, keys: Array, env_params: Any, num_instances: int
) -> tuple[Any, dict[str, Array]]:
    """What a designer sees of fresh instances, and first lies about them: others' reports."""
    key_types, key_reports, key_lies = keys
    each = lambda key: jax.random.split(key, num_instances)
    draw = jax.vmap(env.draw_types, in_axes=(0, None))
    types = draw(each(key_types), env_params)
    tell = jax.vmap(env.draw_reports, in_axes=(0, 0, None))
    reports = tell(each(key_reports), types, env_params)
    lies = draw(each(key_lies), env_params)
    return reports, {name: getattr(lies, name) for name in env.report_space(env_params)}


def _init(
    env: Any,
    mechanism: Mechanism,
    config: MechanismConfig,
    key: Key,
    env_params: Any,
    hparams: MechanismHyperparams,
) -> MechanismState:
    """A fresh mechanism and its pool, if there is one."""
    keys = jax.random.split(key, 4)
    types, lies = _draw(env, keys[1:], env_params, max(config.pool_size, 1))
    params = mechanism.init(keys[0], types)
    weight = jnp.asarray(hparams.exploitability_weight, jnp.result_type(float))
    return MechanismState(
        params=params,
        opt_state=optimizers.flat_adam(hparams.learning_rate).init(params),
        pool=types if config.pool_size else None,
        misreports=lies if config.pool_size else {},
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
    """Improve a batch's misreports, then the mechanism."""
    types, misreports = _next_batch(env, config, key, state, env_params)
    if config.attack_steps:
        misreports = ascend(
            mechanism,
            types,
            misreports,
            state.params,
            space=env.report_space(env_params),
            num_steps=config.attack_steps,
            learning_rate=hparams.attack_learning_rate,
            smoothing=hparams.smoothing,
        )
    misreports = jax.lax.stop_gradient(misreports)
    num_seen = state.iteration.astype(float) * config.batch_size
    progress = optimizers.progress(num_seen, hparams.total_steps)
    weight = weight_at(progress, hparams) if config.mode == "penalty" else state.multiplier
    gradient, metrics = jax.grad(mechanism_loss, has_aux=True)(
        state.params, types, misreports, weight, env, mechanism, config, env_params, hparams
    )
    rate = optimizers.cosine_rate(hparams.learning_rate, hparams.final_rate_share, progress)
    params, opt_state = optimizers.descend(
        optimizers.flat_adam(rate), gradient, state.opt_state, state.params
    )
    state = MechanismState(
        params=params,
        opt_state=opt_state,
        pool=state.pool,
        misreports=_remember(config, state, misreports),
        multiplier=next_multiplier(
            state.multiplier, state.iteration, metrics, types.num_agents, config, hparams
        ),
        iteration=state.iteration + 1,
    )
    count = jnp.asarray(config.batch_size, float)
    totals = EpisodeTotals(count, count * metrics["objective"], count)
    return state, metrics | {"episodes": totals}


def _next_batch(
    env: Any, config: MechanismConfig, key: Key, state: MechanismState, env_params: Any
) -> tuple[Any, dict[str, Array]]:
    """Instances and lies about them; a pool's batches come round in a fixed order."""
    if not config.pool_size:
        return _draw(env, jax.random.split(key, 3), env_params, config.batch_size)
    start = _batch_start(config, state)
    cut = lambda x: jax.lax.dynamic_slice_in_dim(x, start, config.batch_size)
    return jax.tree.map(cut, state.pool), jax.tree.map(cut, state.misreports)


def _remember(
    config: MechanismConfig, state: MechanismState, misreports: dict[str, Array]
) -> dict[str, Array]:
    """The pool's lies with a batch's improved ones."""
    if not config.pool_size:
        return {}
    start = _batch_start(config, state)
    put = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, start, 0)
    return jax.tree.map(put, state.misreports, misreports)


def _batch_start(config: MechanismConfig, state: MechanismState) -> Array:
    """Position in the pool of an iteration's batch."""
    return (state.iteration * config.batch_size) % config.pool_size


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
