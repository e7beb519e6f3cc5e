"""Whittle indices: what a passive round must pay for an arm to be as good left alone.

An arm is a Markov chain with two actions, passive (P0, r0) and active (P1, r1). With a subsidy λ
for passivity its values solve

    V(s) = max( r0(s) + λ + β Σ P0(s,·) V,  r1(s) + β Σ P1(s,·) V )

and the index W(s) is the λ at which both are equal in s. Playing the arms with the highest indices
is asymptotically optimal where the arm is indexable and many arms compete.

Sources: Whittle (1988), Restless Bandits: Activity Allocation in a Changing World; Gittins (1979),
Bandit Processes and Dynamic Allocation Indices, for arms frozen while passive.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array

GOLDEN = 0.5 * (5.0**0.5 - 1.0)


class Arm(NamedTuple):
    """One arm's laws.

    Attributes:
      passive_transition: P0, [S, S], rows sum to one.
      passive_reward: r0, [S] per round.
      active_transition: P1, [S, S].
      active_reward: r1, [S].
    """

    passive_transition: Array
    passive_reward: Array
    active_transition: Array
    active_reward: Array


def advantage(arm: Arm, subsidy: Array, discount: Array, *, num_sweeps: int = 400) -> Array:
    """What being active gains over being passive in each state, under a subsidy, [S].

    Args:
      arm: the arm.
      subsidy: λ, () per passive round.
      discount: β in [0, 1).
      num_sweeps: of value iteration; the error is below β^num_sweeps of the values' scale.
    """

    passive, active = _action_values(arm, subsidy, discount, num_sweeps)
    return active - passive


def _action_values(
    arm: Arm, subsidy: Array, discount: Array, num_sweeps: int
) -> tuple[Array, Array]:
    """Values of being passive and of being active now and acting best from then on, [S] each."""

    def both(value: Array) -> tuple[Array, Array]:
        passive = arm.passive_reward + subsidy + discount * (arm.passive_transition @ value)
        active = arm.active_reward + discount * (arm.active_transition @ value)
        return passive, active

    sweep = lambda _, value: jnp.maximum(*both(value))
    value = jax.lax.fori_loop(0, num_sweeps, sweep, jnp.zeros_like(arm.passive_reward))
    return both(value)


def relaxation_bound(
    arm: Arm,
    start: Array,
    num_arms: Array,
    num_active: Array,
    discount: Array,
    *,
    num_steps: int = 60,
    num_sweeps: int = 400,
) -> Array:
    """Most that any policy of N like arms can earn, m active a round, discounted, ().

    The budget has to hold on average only, discounted over rounds: a linear programme over
    occupation measures. Its dual has one number, the subsidy,

        min over λ of  N Σ p(s) V_λ(s) - λ (N - m) / (1 - β)

    and is convex; golden-section search finds it. Every λ gives an upper bound, so a search that
    stopped early would still be one, up to the error of value iteration.

    Args:
      arm: the arm's laws.
      start: p, [S] distribution of every arm's first state.
      num_arms, num_active: N and m <= N.
      discount: β in [0, 1).
      num_steps: of the search; each shrinks the bracket by 0.618.
      num_sweeps: see `advantage`.

    Source: Whittle (1988).
    """

    def bound(subsidy: Array) -> Array:
        value = jnp.maximum(*_action_values(arm, subsidy, discount, num_sweeps))
        idle = (num_arms - num_active) / (1.0 - discount)
        return num_arms * jnp.sum(start * value) - subsidy * idle

    def shrink(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        is_left = bound(left) < bound(right)
        return jnp.where(is_left, low, left), jnp.where(is_left, right, high)

    reach = _reach(arm, discount)
    low, high = jax.lax.fori_loop(0, num_steps, shrink, (-reach, reach))
    return bound(0.5 * (low + high))


def _reach(arm: Arm, discount: Array) -> Array:
    """Subsidy beyond which no state is worth a play, or below which none is left alone, ()."""
    rewards = jnp.concatenate([arm.passive_reward, arm.active_reward])
    return (jnp.max(rewards) - jnp.min(rewards)) * (1.0 + discount) / (1.0 - discount)


def whittle_indices(
    arm: Arm, discount: Array, *, num_halvings: int = 40, num_sweeps: int = 400
) -> Array:
    """Indices of all states at once, by bisection on the subsidy, [S] in reward per round.

    Args:
      arm: the arm; it should be indexable, see `is_indexable`. The answer is some crossing if not.
      discount: β in [0, 1).
      num_halvings: of the bracket, which starts at ± (spread of rewards) (1 + β) / (1 - β).
      num_sweeps: see `advantage`.
    """
    reach, num_states = _reach(arm, discount), arm.passive_reward.shape[0]

    def index(state: Array) -> Array:
        def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            is_low = advantage(arm, middle, discount, num_sweeps=num_sweeps)[state] > 0.0
            return jnp.where(is_low, middle, low), jnp.where(is_low, high, middle)

        low, high = jax.lax.fori_loop(0, num_halvings, halve, (-reach, reach))
        return 0.5 * (low + high)

    return jax.vmap(index)(jnp.arange(num_states, dtype=jnp.int32))


def is_indexable(arm: Arm, subsidies: Array, discount: Array, *, num_sweeps: int = 400) -> Array:
    """Whether no state turns from passive back to active as the subsidy grows, () bool.

    Args:
      arm: the arm.
      subsidies: [G] grid in ascending order; a finer one finds more.
      discount: β in [0, 1).
    """
    gains = jax.vmap(lambda s: advantage(arm, s, discount, num_sweeps=num_sweeps))(subsidies)
    is_active = gains > 1e-5 * (1.0 + jnp.max(jnp.abs(subsidies)))  # float32 rounding of values
    return ~jnp.any(is_active[1:] & ~is_active[:-1])


def gilbert_elliott_index(belief: Array, stay: Array, recover: Array, discount: Array) -> Array:
    """Whittle index of a channel that is good with probability ω and positively correlated.

        W = ω / (1 - β p11 + β ω) on [ω0, p11),   ω0 = p01 / (1 + p01 - p11)
        W = ω below p01 and from p11 on;  nan on [p01, ω0), where only bisection helps

    Args:
      belief: ω, [...] probability that the channel is good now; using a good one pays 1.
      stay: p11, good to good.
      recover: p01 < p11, bad to good.
      discount: β in [0, 1).

    Source: Liu & Zhao (2010), Indexability of Restless Bandit Problems and Optimality of Whittle
    Index for Dynamic Multichannel Access.
    """
    settled = recover / (1.0 + recover - stay)
    inner = belief / (1.0 - discount * stay + discount * belief)
    outside = (belief < recover) | (belief >= stay)
    return jnp.where(outside, belief, jnp.where(belief >= settled, inner, jnp.nan))


def age_index(age: Array, success: Array) -> Array:
    """Whittle index of a source whose information is `age` rounds old, without discounting.

        W(h) = p h / 2 · (h + (2 - p) / p)

    Args:
      age: h >= 1, [...].
      success: p in (0, 1], probability that an update arrives.

    Source: Kadota, Sinha, Uysal-Biyikoglu, Singh & Modiano (2018), Scheduling Policies for
    Minimizing Age of Information in Broadcast Wireless Networks.
    """
    return 0.5 * success * age * (age + (2.0 - success) / success)
