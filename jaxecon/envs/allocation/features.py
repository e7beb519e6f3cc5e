"""What a planner sees of an episode: shared numbers, and one row of features per agent."""

import jax.numpy as jnp

from jaxecon.envs.allocation.demand import Outlook
from jaxecon.envs.allocation.economy import EnvState
from jaxecon.types import Array

NUM_GLOBALS = 5
NUM_FEATURES = 6


def observation(
    state: EnvState, future: Outlook, weight: Array, typical: Array, num_steps: int
) -> Array:
    """b/B, t/T, Σ x/B, Σ F/B, Σ S/B, then for each agent x, P, C, F, S over typical demand, and w.

    Args:
      state: the episode, with requests on the table.
      future: F and S, [N] units.
      weight: w, [N].
      typical: an agent's mean demand in this episode, units.
      num_steps: T.

    Returns:
      [5 + 6 N], flat. A budget of 0 is taken for 1.
    """
    budget = jnp.where(state.total_budget > 0.0, state.total_budget, 1.0)
    elapsed = state.time.astype(budget.dtype) / num_steps
    sums = [jnp.sum(x) / budget for x in (state.request, future.mean, future.deviation)]
    units = (state.request, state.given, state.asked, future.mean, future.deviation)
    rows = jnp.stack([x / typical for x in units] + [weight], axis=1)  # [N, 6]
    return jnp.concatenate([jnp.stack([state.budget / budget, elapsed, *sums]), jnp.ravel(rows)])


def split(obs: Array) -> tuple[Array, Array]:
    """(globals [..., 5], features [..., N, 6]) of observations [..., 5 + 6 N]."""
    rows = obs[..., NUM_GLOBALS:]
    return obs[..., :NUM_GLOBALS], jnp.reshape(rows, (*obs.shape[:-1], -1, NUM_FEATURES))
