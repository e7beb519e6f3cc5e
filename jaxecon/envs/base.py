"""The environment contract: what every jaxecon environment is and offers.

An environment is a frozen, hashable dataclass that holds only structure (counts, grids, names).
Every number of the economy lives in `EnvParams`, a pytree that can be vmapped, swept and
differentiated. Two equal environments hash alike and therefore share one compilation.

To write an environment, subclass `Environment` and implement `reset_env`, `step_env`,
`observation_space` and `action_space`. The base adds the time limit, automatic reset and
`info["final_observation"]`. It extends gymnax 1.x, so gymnax's wrappers accept it.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import environment as gymnax_environment
from gymnax.environments import spaces

from jaxecon.symmetry import SymmetrySpec
from jaxecon.types import Array, Key

EnvState = gymnax_environment.EnvState
EnvParams = gymnax_environment.EnvParams

Box = spaces.Box
Discrete = spaces.Discrete


class Simplex(spaces.Box):
    """Non-negative vectors that sum to one, such as portfolio weights.

    Args:
      num_parts: K, length of the vector.

    `contains` allows a float32 rounding error of 1e-5 in the sum.
    """

    def __init__(self, num_parts: int):
        if num_parts < 2:
            raise ValueError(f"num_parts must be at least 2, got {num_parts}.")
        super().__init__(0.0, 1.0, (num_parts,), jnp.float32)

    def __repr__(self) -> str:
        return f"Simplex({self.shape[0]})"

    def sample(self, key: Key) -> Array:
        """One point drawn uniformly from the simplex, [K]."""
        spacings = jax.random.exponential(key, self.shape, self.dtype)
        return spacings / spacings.sum()

    def contains(self, x: Array) -> Array:
        """Whether x, [K], is non-negative and sums to one."""
        return super().contains(x) & (jnp.abs(jnp.sum(x) - 1.0) <= 1e-5)


class Ball(spaces.Box):
    """Vectors of Euclidean norm at most 1: forces without a preferred direction.

    Args:
      dim: D, length of the vector.

    `contains` allows a float32 rounding error of 1e-5 in the norm.
    """

    def __init__(self, dim: int):
        require_count("dim", dim)
        super().__init__(-1.0, 1.0, (dim,), jnp.float32)

    def __repr__(self) -> str:
        return f"Ball({self.shape[0]})"

    def sample(self, key: Key) -> Array:
        """One point drawn uniformly from the ball, [D]."""
        key_direction, key_radius = jax.random.split(key)
        direction = jax.random.normal(key_direction, self.shape, self.dtype)
        volume = jax.random.uniform(key_radius, (), self.dtype)  # share of the ball within
        radius = volume ** (1.0 / self.shape[0])
        return direction * (radius / jnp.sqrt(jnp.sum(jnp.square(direction))))

    def contains(self, x: Array) -> Array:
        """Whether x, [D], has a norm of at most one."""
        return jnp.sqrt(jnp.sum(jnp.square(x))) <= 1.0 + 1e-5


class MultiDiscrete(spaces.Discrete):
    """One choice among the same K alternatives for each of N agents, int32 [N].

    Args:
      num_agents: N.
      num_categories: K.
    """

    def __init__(self, num_agents: int, num_categories: int):
        super().__init__(num_categories)
        self.shape = (num_agents,)

    def __repr__(self) -> str:
        return f"MultiDiscrete({self.shape[0]}, {self.n})"

    def contains(self, x: Array) -> Array:
        """Whether every agent's choice is one of the alternatives."""
        return jnp.all(super().contains(x))


class Environment(gymnax_environment.Environment):
    """Base class of all jaxecon environments; subclasses are frozen dataclasses.

    Attributes:
      num_agents: None in a single-agent environment, whose reward is a scalar. Otherwise the
        number of agents N: observations are [N, ...], actions [N, ...] and the reward [N].
      noop_action: the discrete choice that does nothing, or None. Name it where the state also
        moves by itself: whether an action has an effect is then judged against doing nothing.
      effect_tolerance: how far an entry of `effect_view` has to move for an action to count as
        having done something.
      ends_together: True if time alone decides when an episode ends, so that environments that
        were reset together always end together. Training loops then reset a whole batch at once.
    """

    _supports_transition_gradients = True
    _transition_gradients_enabled = True
    num_agents: int | None = None
    noop_action: int | None = None
    effect_tolerance: float = 0.0
    ends_together: bool = False

    def with_transition_gradients(self):
        """This environment itself: gradients always flow through jaxecon transitions."""
        return self

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(self, key: Key, state: Any, action: Any, params: Any = None) -> tuple:
        """Advance one period; where the episode ends, hand back the next one's first state.

        Args:
          key: PRNG key of this step.
          state: pytree of the environment's state.
          action: a member of `action_space`.
          params: economy; `default_params` if None.

        Returns:
          (obs, state, reward, terminated, truncated, info). `info["final_observation"]` is the
          observation before any reset, the one to bootstrap from when `truncated`.
          The reset runs only in the step that ends an episode; under `vmap` it becomes a select,
          and `jaxecon.envs.autoreset` has the batched forms that avoid it.
        """
        params = self.default_params if params is None else params
        key_step, key_reset = jax.random.split(key)
        final_obs, final_state, reward, terminated, info = self.step_env(
            key_step, state, action, params
        )
        truncated = self.is_truncated(final_state, params)
        obs, state = jax.lax.cond(
            terminated | truncated,
            lambda: self.reset_env(key_reset, params),
            lambda: (final_obs, final_state),
        )
        info = {
            **info,
            "terminated": terminated,
            "truncated": truncated,
            "final_observation": final_obs,
        }
        return obs, state, reward, terminated, truncated, info

    def action_mask(self, state: Any, params: Any) -> Array | None:
        """Legal choices, bool [..., num_actions] with True = legal, or None if all are."""
        return None

    def symmetry(self) -> SymmetrySpec | None:
        """How a group acts on observations and actions, exactly or nearly; None if none does."""
        return None

    def effect_view(self, state: Any) -> Any:
        """What an action can change, a pytree; leave out clocks, sums and what moves by itself."""
        return state.replace(time=jnp.zeros_like(state.time))

    def applicability_view(self, obs: Array) -> Array:
        """What decides which actions apply, rows [B, F] of observations [B, ...]."""
        return jnp.reshape(obs, (obs.shape[0], -1))

    def episode_summary(self, state: Any, params: Any) -> dict[str, Array]:
        """Scalars that describe a finished episode, read from its last state.

        Evaluations report their mean over episodes beside return and length. Keep what they need
        in the state (a running sum, a peak); per-step `info` never leaves the compiled program.
        """
        return {}

    def baselines(self, params: Any) -> dict[str, dict[str, float]]:
        """What known policies reach in an economy with concrete numbers: {policy: {metric: value}}.

        Metrics are those of an evaluation: "return" and the entries of `episode_summary`. Closed
        forms and rules of thumb belong here; studies show them beside what was learned.
        """
        return {}

    def is_terminated(self, state: Any, params: Any) -> Array:
        """Whether the state is a natural end; environments without one never terminate."""
        return jnp.bool_(False)


def require_count(name: str, value: Any) -> None:
    """Raise ValueError unless a structural setting is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
