"""Whittle indices: what a passive round must pay for an arm to be as good left alone.

An arm is a Markov chain with two actions, passive (P0, r0) and active (P1, r1). With a subsidy λ
for passivity its values solve

    V(s) = max( r0(s) + λ + β Σ P0(s,·) V,  r1(s) + β Σ P1(s,·) V )

and the index W(s) is the λ at which both are equal in s. Playing the arms with the highest indices
is asymptotically optimal where the arm is indexable and many arms compete.

Sources: Whittle (1988), Restless Bandits: Activity Allocation in a Changing World; Gittins (1979),
Bandit Processes and Dynamic Allocation Indices, for arms frozen while passive.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.types import Array

GRID = 33  # points of a search
MAX_IMPROVEMENTS = 50  # of a policy; rounding may make equal ones alternate


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


def advantage(arm: Arm, subsidy: Array, discount: Array | float) -> Array:
    """What being active gains over being passive in each state, under a subsidy, [S].

    Args:
      arm: the arm.
      subsidy: λ, () per passive round.
      discount: β in [0, 1).

    Later play is the best there is, by policy iteration with exact values. Gradients flow through
    the values; the policy is piecewise constant and has none.
    """
    return _gains(arm, _best_values(arm, subsidy, discount)[1], subsidy, discount)


def _gains(arm: Arm, relative: Array, subsidy: Array, discount: Array | float) -> Array:
    """Of being active now over being passive, [S]; values may be short of a constant."""
    moves = (arm.active_transition - arm.passive_transition) @ relative
    return arm.active_reward - arm.passive_reward - subsidy + discount * moves


def _best_values(arm: Arm, subsidy: Array, discount: Array | float) -> tuple[Array, Array]:
    """(1 - β) V(0), (), and V - V(0), [S], of the best policy under a subsidy."""

    def values(
        arm: Arm, is_active: Array, subsidy: Array, discount: Array | float
    ) -> tuple[Array, Array]:
        chain = jnp.where(is_active[:, None], arm.active_transition, arm.passive_transition)
        paid = jnp.where(is_active, arm.active_reward, arm.passive_reward + subsidy)
        return _policy_values(chain, paid, discount)

    constants = jax.lax.stop_gradient((arm, subsidy, discount))

    def improve(loop: _Improving) -> _Improving:
        arm, subsidy, discount = constants
        relative = values(arm, loop.is_active, subsidy, discount)[1]
        is_active = _gains(arm, relative, subsidy, discount) > 0.0
        return _Improving(is_active, jnp.any(is_active != loop.is_active), loop.iteration + 1)

    passive = jnp.zeros(arm.passive_reward.shape, bool)
    start = _Improving(passive, jnp.bool_(True), jnp.int32(0))
    moves_on = lambda loop: loop.is_moving & (loop.iteration < MAX_IMPROVEMENTS)
    best = jax.lax.while_loop(moves_on, improve, start)
    return values(arm, best.is_active, subsidy, discount)


class _Improving(NamedTuple):
    """Between two improvements of a policy."""

    is_active: Array  # [S] bool
    is_moving: Array  # () bool, the last improvement changed something
    iteration: Array  # () int32


def _policy_values(chain: Array, paid: Array, discount: Array | float) -> tuple[Array, Array]:
    """(1 - β) V(0), (), and h = V - V(0), [S], of a chain [S, S] that pays [S].

        g + h(s) = r(s) + β Σ P(s,·) h,   h(0) = 0

    All states but the first are eliminated; I - βP is diagonally dominant, so no pivot is sought.
    Differences are found without the level V ~ 1/(1 - β), which would drown them in rounding.
    """
    size = paid.shape[0] - 1
    eye, ones = jnp.eye(size, dtype=paid.dtype), jnp.ones((size, 1), paid.dtype)
    table = jnp.concatenate([eye - discount * chain[1:, 1:], paid[1:, None], ones], axis=1)

    def eliminate(k: Array, table: Array) -> Array:
        row = table[k] / table[k, k]
        return (table - table[:, k, None] * row[None]).at[k].set(row)

    table = jax.lax.fori_loop(0, size, eliminate, table)
    from_paid, from_gain = table[:, -2], table[:, -1]
    onward = discount * chain[0, 1:]
    gain = (paid[0] + onward @ from_paid) / (1.0 + onward @ from_gain)
    return gain, jnp.concatenate([jnp.zeros(1, paid.dtype), from_paid - gain * from_gain])


def relaxation_bound(
    arm: Arm,
    start: Array,
    num_arms: Array | float,
    num_active: Array | float,
    discount: Array | float,
    *,
    num_rounds: int = 12,
) -> Array:
    """Most that any policy of N like arms can earn, m active a round, discounted, ().

    The budget has to hold on average only, discounted over rounds: a linear programme over
    occupation measures. Its dual has one number, the subsidy,

        min over λ of  N Σ p(s) V_λ(s) - λ (N - m) / (1 - β)

    and is convex; ever finer grids find it. Every λ gives an upper bound, so a search that stopped
    early would still be one.

    Args:
      arm: the arm's laws.
      start: p, [S] distribution of every arm's first state.
      num_arms, num_active: N and m <= N.
      discount: β in [0, 1).
      num_rounds: of the search; each shrinks the bracket to a sixteenth.

    Source: Whittle (1988).
    """

    def bound(subsidy: Array) -> Array:
        gain, relative = _best_values(arm, subsidy, discount)
        level = gain + (1.0 - discount) * jnp.sum(start * relative)
        return num_arms * level - subsidy * (num_arms - num_active)

    reach = _reach(arm, discount)
    return bound(_minimiser(bound, reach, num_rounds)) / (1.0 - discount)


def average_bound(
    arm: Arm,
    num_arms: Array | float,
    num_active: Array | float,
    *,
    discount: float = 0.9999,
    num_rounds: int = 12,
) -> Array:
    """Most that any policy of N like arms can earn per round in the long run, m active a round, ().

        min over λ of  N max over s of (1 - β) V_λ(s) - λ (N - m)

    With h = β V_λ, no action in any state earns more than (1 - β) max V_λ + h(s) - E h(s'), and the
    h telescope: so this bounds the average reward from every start, at every β < 1. It comes down
    to the average-reward relaxation as β -> 1, from which it is off by N (1 - β) times the range of
    V_λ at most. In finitely many rounds policies may earn N times the range of h more, once.

    Args:
      arm: the arm's laws.
      num_arms, num_active: N and m <= N.
      discount: β in [0, 1), near 1 for a tight bound.
      num_rounds: of the search, see `relaxation_bound`.

    Source: Whittle (1988), for the relaxation; the bound at β < 1 is derived above.
    """

    def bound(subsidy: Array) -> Array:
        gain, relative = _best_values(arm, subsidy, discount)
        level = gain + (1.0 - discount) * jnp.max(relative)
        return num_arms * level - subsidy * (num_arms - num_active)

    return bound(_minimiser(bound, _reach(arm, discount), num_rounds))


def _minimiser(function: Callable[[Array], Array], reach: Array, num_rounds: int) -> Array:
    """Where a convex function is least on [-reach, reach], (), by grids; no gradient."""
    offsets = jnp.linspace(-1.0, 1.0, GRID, dtype=reach.dtype)

    def refine(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        middle, half = bracket
        points = middle + half * offsets
        return points[jnp.argmin(jax.vmap(function)(points))], half * (2.0 / (GRID - 1))

    reach = jax.lax.stop_gradient(reach)
    middle, _ = jax.lax.fori_loop(0, num_rounds, refine, (jnp.zeros_like(reach), reach))
    return jax.lax.stop_gradient(middle)


def _reach(arm: Arm, discount: Array | float) -> Array:
    """Subsidy beyond which no state is worth a play, or below which none is left alone, ()."""
    rewards = jnp.concatenate([arm.passive_reward, arm.active_reward])
    return (jnp.max(rewards) - jnp.min(rewards)) * (1.0 + discount) / (1.0 - discount)


def whittle_indices(arm: Arm, discount: Array | float, *, num_halvings: int = 50) -> Array:
    """Indices of all states at once, by bisection on the subsidy, [S] in reward per round.

    Args:
      arm: the arm; it should be indexable, see `is_indexable`. The answer is some crossing if not.
      discount: β in [0, 1).
      num_halvings: of the bracket, which starts at ± (spread of rewards) (1 + β) / (1 - β).
    """
    reach, num_states = _reach(arm, discount), arm.passive_reward.shape[0]

    def index(state: Array) -> Array:
        def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            is_low = advantage(arm, middle, discount)[state] > 0.0
            return jnp.where(is_low, middle, low), jnp.where(is_low, high, middle)

        low, high = jax.lax.fori_loop(0, num_halvings, halve, (-reach, reach))
        return 0.5 * (low + high)

    return jax.vmap(index)(jnp.arange(num_states, dtype=jnp.int32))


def is_indexable(arm: Arm, subsidies: Array, discount: Array | float) -> Array:
    """Whether no state turns from passive back to active as the subsidy grows, () bool.

    Args:
      arm: the arm.
      subsidies: [G] grid in ascending order; a finer one finds more.
      discount: β in [0, 1).
    """
    gains = jax.vmap(lambda s: advantage(arm, s, discount))(subsidies)
    is_active = gains > 1e-5 * (1.0 + jnp.max(jnp.abs(subsidies)))  # float32 rounding of values
    return ~jnp.any(is_active[1:] & ~is_active[:-1])


def gilbert_elliott_index(
    belief: Array, stay: Array, recover: Array, discount: Array | float
) -> Array:
    """Whittle index of a channel that is good with probability ω and positively correlated.

        W = ω / (1 - β p11 + β ω) on [ω0, p11),   ω0 = p01 / (1 + p01 - p11)
        W = ω below p01 and from p11 on;  nan on [p01, ω0), where only bisection helps, and
        wherever p01 > p11, a negative correlation that has other formulas

    Args:
      belief: ω, [...] probability that the channel is good now; using a good one pays 1.
      stay: p11, good to good.
      recover: p01 <= p11, bad to good.
      discount: β in [0, 1).

    Source: Liu & Zhao (2010), Indexability of Restless Bandit Problems and Optimality of Whittle
    Index for Dynamic Multichannel Access.
    """
    settled = recover / (1.0 + recover - stay)
    inner = belief / (1.0 - discount * stay + discount * belief)
    outside = (belief < recover) | (belief >= stay)
    index = jnp.where(outside, belief, jnp.where(belief >= settled, inner, jnp.nan))
    return jnp.where(recover <= stay, index, jnp.nan)


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
