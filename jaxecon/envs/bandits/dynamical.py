"""A linear bandit that remembers: actions move a hidden state, and payoffs depend on it."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.bandits.contract import REGRETS, Bandit, not_negative, regret_info
from jaxecon.solvers.checking import require
from jaxecon.solvers.kalman import check_finite, check_stable
from jaxecon.types import Array, Key


@struct.dataclass
class EnvParams(base.EnvParams):
    """A stable linear system; arms are the actions that can be chosen."""

    transition: Any = None  # A, [n, n] with a spectral radius below 1
    inputs: Any = None  # B, [n, k]
    readout: Any = None  # ω, [n]
    direct: Any = None  # θ, [k]
    arms: Any = None  # u, [K, k]
    state_noise: float = 0.1  # standard deviation
    payoff_noise: float = 0.1  # standard deviation
    max_steps_in_episode: int = 4000


@struct.dataclass
class EnvState(base.EnvState):
    """The hidden state, and what has been lost so far."""

    latent: Array  # x, [n]
    regret_sum: Array  # [3]


@dataclasses.dataclass(frozen=True)
class DynamicalLinearBandit(Bandit):
    """K arms u whose payoff y = ω·x + θ·u depends on a hidden state that arms move.

        x' = A x + B u + ε,   y = ω·x + θ·u + η,   long-run mean of a constant u: h·u,
        h = θ + Bᵀ (I - A)^{-T} ω

    Action: the arm. Observation: nothing, a constant 1. Known features of the arms are the u.
    Regrets, all against holding the best arm: "regret_clairvoyant" h·u* - E[y | x], transients
    included; "regret_feasible" and "regret_observable" h·(u* - u), what the arm costs in the long
    run. Their sums differ by a bounded amount if arms are rarely changed.

    Attributes:
      num_arms: K.

    Source: Mussi, Metelli & Restelli (2023), Dynamical Linear Bandits, arXiv 2211.08997.
    """

    num_arms: int = 4

    def __post_init__(self):
        base.require_count("num_arms", self.num_arms)

    @property
    def name(self) -> str:
        """The registry's id."""
        return "DynamicalLinearBandit-v0"

    @property
    def latent_dim(self) -> int:
        """1: payoffs are linear in the arms' features alone."""
        return 1

    @property
    def default_params(self) -> EnvParams:
        """Two states; the corners of the unit square, if there are four arms."""
        corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
        angles = jnp.linspace(0.0, 2.0 * jnp.pi, self.num_arms, endpoint=False)
        circle = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        return EnvParams(
            transition=jnp.array([[0.2, 0.1], [0.0, 0.5]]),
            inputs=jnp.array([[1.0, 0.0], [0.0, 0.4]]),
            readout=jnp.array([1.0, 2.0]),
            direct=jnp.array([0.3, -0.2]),
            arms=jnp.array(corners) if self.num_arms == 4 else circle,
        )

    def check(self, params: EnvParams) -> None:
        """Raise ValueError for noise that is negative or not finite."""
        for name in ("state_noise", "payoff_noise"):
            require(name, getattr(params, name), not_negative, "at least 0 and finite")

    def observation_space(self, params: EnvParams) -> base.Box:
        """A constant, [1]."""
        return base.Box(0.0, 1.0, (1,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """The state at rest."""
        latent = jnp.zeros(jnp.shape(params.readout), float)
        state = EnvState(time=jnp.int32(0), latent=latent, regret_sum=jnp.zeros(3, float))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Pay the arm, then move the state; info has the regrets and `expected_reward`."""
        chex.assert_rank(action, 0)
        as_float = lambda value: jnp.asarray(value, float)
        shocks = jax.random.normal(key, (1 + state.latent.shape[0],))
        arm = as_float(params.arms)[action]
        expected = as_float(params.readout) @ state.latent + as_float(params.direct) @ arm
        reward = expected + as_float(params.payoff_noise) * shocks[0]
        moved = as_float(params.transition) @ state.latent + as_float(params.inputs) @ arm
        latent = moved + as_float(params.state_noise) * shocks[1:]
        values = as_float(params.arms) @ self.steady_payoff(params)
        lost = jnp.max(values) - values[action]
        regret = jnp.stack([jnp.max(values) - expected, lost, lost])
        state = EnvState(state.time + 1, latent, state.regret_sum + regret)
        info = regret_info(regret) | {"expected_reward": expected}
        obs = self.observe(key, state, action, params)
        return obs, state, reward, jnp.bool_(False), info

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """A constant 1, [1]."""
        return jnp.ones(1, float)

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """The three regrets, summed over the rounds."""
        return dict(zip(REGRETS, state.regret_sum, strict=True))

    def arm_features(self, state: EnvState, params: EnvParams) -> Array:
        """The arms u as features of a constant, [K, k, 1]."""
        return jnp.asarray(params.arms, float)[:, :, None]

    def steady_payoff(self, params: EnvParams) -> Array:
        """h, [k]: long-run mean payoff per unit of each constant input.

        h = θ + Bᵀ (I - A)^{-T} ω,  the inverse as Π_j (I + A^(2^j)) over 20 factors
        """

        def double(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            power, total = carry
            return power @ power, total + power @ total

        start = (jnp.asarray(params.transition, float).T, jnp.asarray(params.readout, float))
        _, total = jax.lax.fori_loop(0, 20, double, start)
        return jnp.asarray(params.direct, float) + jnp.asarray(params.inputs, float).T @ total


def make_dynamical_bandit(
    *,
    transition: Any = None,
    inputs: Any = None,
    readout: Any = None,
    direct: Any = None,
    arms: Any = None,
    num_arms: int | None = None,
    state_noise: float = 0.1,
    payoff_noise: float = 0.1,
    num_rounds: int = 4000,
) -> tuple[DynamicalLinearBandit, EnvParams]:
    """The bandit and its parameters, checked; what is None keeps its default.

    Raises:
      ValueError: unstable dynamics, shapes that do not fit each other, numbers that are not finite,
        a negative noise, or no arms.
    """
    base.require_count("num_rounds", num_rounds)
    if arms is not None and np.ndim(arms) > 0:
        num_arms = int(np.shape(arms)[0])
    env = DynamicalLinearBandit(4 if num_arms is None else num_arms)
    given = {"transition": transition, "inputs": inputs, "readout": readout, "direct": direct}
    given |= {"arms": arms}
    for name, value in given.items():
        rank = 1 if name in ("readout", "direct") else 2
        if value is not None and np.ndim(value) != rank:
            kind = "vector" if rank == 1 else "matrix"
            raise ValueError(f"{name} must be a {kind}, got the shape {np.shape(value)}.")
        check_finite(name, value)
    arrays = {name: jnp.asarray(v, float) for name, v in given.items() if v is not None}
    params = env.default_params.replace(
        **arrays,
        state_noise=state_noise,
        payoff_noise=payoff_noise,
        max_steps_in_episode=num_rounds,
    )
    n, k = np.shape(params.readout)[0], np.shape(params.direct)[0]
    shapes = {"transition": (n, n), "inputs": (n, k), "arms": (env.num_arms, k)}
    for name, shape in shapes.items():
        if np.shape(getattr(params, name)) != shape:
            raise ValueError(
                f"{name} must have the shape {shape} for {n} states and {k} inputs, got "
                f"{np.shape(getattr(params, name))}."
            )
    check_stable("transition", np.asarray(params.transition))
    env.check(params)
    return env, params
