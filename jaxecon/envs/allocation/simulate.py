"""Playing rules and policies on many episodes at once, the same draws for all of them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.envs.allocation import demand as laws
from jaxecon.envs.allocation.draws import Episodes
from jaxecon.envs.allocation.economy import EnvParams, as_float
from jaxecon.envs.allocation.measures import episode_measures
from jaxecon.envs.allocation.rules import Problem, Rule, View
from jaxecon.solvers.waterfill import waterfill
from jaxecon.types import Array, Metrics


class Played(NamedTuple):
    """Where episodes ended.

    Attributes:
      given: A, [N, E] units.
      budget: what is left, [E] units.
    """

    given: Array
    budget: Array


def play(env: Any, params: EnvParams, rule: Rule, strength: Array, episodes: Episodes) -> Played:
    """Play a rule on given draws.

    Args:
      env: a SequentialAllocation.
      params: its economy.
      rule: one of `registry.RULES`.
      strength: its tunable number, scalar.
      episodes: E draws.

    Returns:
      Played; totals add up to the budget up to rounding.
    """
    tables = laws.step_tables(env.law, params)
    future = laws.Tables(*(laws.sum_after(table) for table in tables))
    prepared = rule.prepare(_problem(env, params, tables, episodes))
    weight = jnp.broadcast_to(as_float(params.weight)[:, None], episodes.scale.shape)
    later = jnp.cumsum(episodes.requests[::-1], axis=0)[::-1]  # this step's included
    sums = _step_sums(tables, episodes)

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, None]:
        budget, given, asked, least_fill = carry
        time, row, request, following, (now, then) = inputs
        asked = asked + request
        most = most_to_give(env.fill_rule, request, asked, given)
        beliefs = laws.outlook(
            laws.Tables(*(x[:, None] for x in row)), episodes.thinning, episodes.scale
        )
        seen = (jnp.arange(env.num_steps) <= time)[:, None, None]
        view = View(
            time, budget, given, asked, most, weight, beliefs, then[0], then[1], now[0], now[1],
            least_fill, jnp.where(seen, episodes.requests, 0.0), following - request,
        )  # fmt: skip
        amount = within_budget(rule.allocate(prepared, view, strength), most, budget)
        used, wanted = jnp.sum(amount, axis=0), jnp.sum(most, axis=0)
        fill = jnp.where(wanted > 0.0, used / jnp.where(wanted > 0.0, wanted, 1.0), 1.0)
        least_fill = jnp.minimum(least_fill, fill)
        return (jnp.maximum(budget - used, 0.0), given + amount, asked, least_fill), None

    nothing = jnp.zeros_like(episodes.scale)
    start = (episodes.budget, nothing, nothing, jnp.ones_like(episodes.budget))
    inputs = (jnp.arange(env.num_steps), future, episodes.requests, later, sums)
    (budget, given, _, _), _ = jax.lax.scan(step, start, inputs)
    return Played(given, budget)


def welfare_floor(law: laws.Law, params: EnvParams, factor: Array) -> Array:
    """What utility is raised by before its log is taken, 0.001 of an agent's mean demand.

    Args:
      law: of request sizes.
      params: the economy.
      factor: r s, [N, ...] how expected demands of an episode's agents differ from the economy's.

    Returns:
      [...] units.
    """
    expected = jnp.sum(laws.step_tables(law, params).mean, axis=0)
    expected = jnp.reshape(expected, expected.shape + (1,) * (factor.ndim - 1)) * factor
    return jnp.maximum(1e-3 * jnp.mean(expected, axis=0), jnp.finfo(expected.dtype).tiny)


def most_to_give(fill_rule: str, request: Array, asked: Array, given: Array) -> Array:
    """Most that each agent may receive in a step, units: its request, or all that is unmet."""
    if fill_rule == "per_step":
        return request
    return jnp.where(request > 0.0, jnp.maximum(asked - given, 0.0), 0.0)


def within_budget(amount: Array, most: Array, budget: Array) -> Array:
    """Amounts between 0 and `most`, all scaled back alike where they exceed the budget."""
    amount = jnp.clip(amount, 0.0, most)
    total = jnp.sum(amount, axis=0)
    is_over = total > budget
    return amount * jnp.where(is_over, budget / jnp.where(is_over, total, 1.0), 1.0)[None]


def _problem(env: Any, params: EnvParams, tables: laws.Tables, episodes: Episodes) -> Problem:
    """What rules know before the first request, from the moments of each step."""
    whole = laws.Tables(*(jnp.sum(table, axis=0)[:, None] for table in tables))
    beliefs = laws.outlook(whole, episodes.thinning, episodes.scale)
    points = laws.size_points(env.law, params)[:, :, None] * episodes.scale[None]
    num_steps = jnp.minimum(jnp.asarray(params.max_steps_in_episode, jnp.int32), env.num_steps)
    return Problem(episodes.budget, beliefs, points, jnp.mean(points, axis=0), num_steps)


def _step_sums(tables: laws.Tables, episodes: Episodes) -> tuple:
    """((mean, deviation) of each step's sum of requests, the same of the step after), [T, E]."""
    rows = laws.Tables(*(table[:, :, None] for table in tables))
    each = laws.outlook(rows, episodes.thinning[None], episodes.scale[None])
    mean = jnp.sum(each.mean, axis=1)
    deviation = jnp.sqrt(jnp.sum(jnp.square(each.deviation), axis=1))
    after = lambda x: jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])
    return (mean, deviation), (after(mean), after(deviation))


def measure_blocks(
    env: Any, params: EnvParams, rule: Rule, strengths: Array, blocks: Episodes
) -> Metrics:
    """Measures of episodes under each of K strengths of a rule.

    Args:
      env, params: a SequentialAllocation and its economy.
      rule: one of `registry.RULES`.
      strengths: [K].
      blocks: E draws, from `draw_blocks`.

    Returns:
      {metric: [K, E]}, those of `measures.episode_measures` and "return", the environment's.
      A rule compiles once per shape: economies and draws are traced.
    """
    return _measure_blocks(env, params, blocks, _play_blocks(env, params, rule, strengths, blocks))


@functools.partial(jax.jit, static_argnames=("env", "rule"))
def _play_blocks(
    env: Any, params: EnvParams, rule: Rule, strengths: Array, blocks: Episodes
) -> Array:
    """Totals given, [K, num_blocks, N, block]."""
    every = lambda strength: jax.lax.map(
        lambda episodes: play(env, params, rule, strength, episodes).given, blocks
    )
    return jax.lax.map(every, strengths)


@functools.partial(jax.jit, static_argnames="env")
def _measure_blocks(env: Any, params: EnvParams, blocks: Episodes, given: Array) -> Metrics:
    """Measures of totals given, [K, num_blocks, N, block]; common to all rules."""
    one = lambda each: jax.lax.map(lambda pair: measure_totals(env, params, *pair), (blocks, each))
    measures = jax.lax.map(one, given)
    return {name: jnp.reshape(x, (x.shape[0], -1)) for name, x in measures.items()}


def measure_totals(env: Any, params: EnvParams, episodes: Episodes, given: Array) -> Metrics:
    """{metric: [E]} of totals given, [N, E] units, in E episodes."""
    asked = jnp.sum(episodes.requests, axis=0)
    weight = jnp.broadcast_to(as_float(params.weight)[:, None], asked.shape)
    measures = episode_measures(given, asked, weight, episodes.budget)
    floor = welfare_floor(env.law, params, episodes.thinning * episodes.scale)
    gained = jnp.sum(weight * jnp.log1p(given / floor[None]), axis=0)
    if env.reward == "regret":
        gained = gained - hindsight_welfare(asked, weight, episodes.budget, floor)
    return measures | {"return": gained}


def hindsight_welfare(asked: Array, weight: Array, budget: Array, floor: Array) -> Array:
    """Σ w log(1 + A*/ε) of the offline optimum A*, [...].

    Args:
      asked: D, [N, ...] units.
      weight: w, [N, ...].
      budget: B, [...] units.
      floor: ε, [...] units, see `welfare_floor`.
    """
    best = waterfill(jnp.zeros_like(asked), asked, weight, budget, axis=0).value
    return jnp.sum(weight * jnp.log1p(best / floor[None]), axis=0)


@functools.partial(jax.jit, static_argnames=("env", "act"))
def replay_policy(env: Any, params: EnvParams, act: Any, episodes: Episodes) -> Metrics:
    """Measures of a trained policy on given draws, through the environment itself.

    Args:
      env: a SequentialAllocation.
      params: its economy.
      act: observations [E, F] -> actions [E, ...].
      episodes: E draws.

    Returns:
      {metric: [E]}, as `measure_blocks`.
    """
    ask = jax.vmap(env.ask)
    give = jax.vmap(lambda *arguments: env.give(*arguments, params))
    allocate = jax.vmap(lambda *arguments: env.allocate(*arguments, params))
    key = jax.random.key(0)  # observing draws nothing
    observe = jax.vmap(lambda state: env.observe(key, state, None, params))
    requests = jnp.moveaxis(episodes.requests, -1, 1)  # [T, E, N]
    state = jax.vmap(env.start)(episodes.budget, episodes.thinning.T, episodes.scale.T)

    def step(carry: tuple, request: Array) -> tuple[tuple, None]:
        state, total = carry
        state = ask(state, request)
        state, reward = give(state, allocate(state, act(observe(state))))
        return (state, total + reward), None

    (state, total), _ = jax.lax.scan(step, (state, jnp.zeros_like(state.budget)), requests)
    summary = jax.vmap(lambda state: env.episode_summary(state, params))(state)
    return summary | {"return": total}
