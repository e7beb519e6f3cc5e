"""A linear bandit whose context moves on its own and is seen only in part and through noise."""

import dataclasses
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.envs import base
from jaxecon.envs.bandits.contract import (
    REGRETS,
    Bandit,
    Oracle,
    not_negative,
    positive,
    regret_info,
    regret_of_choices,
)
from jaxecon.solvers.checking import require
from jaxecon.solvers.kalman import (
    LinearGaussian,
    check_finite,
    check_stable,
    filter_step,
    predict_step,
    stationary_covariance,
)
from jaxecon.solvers.kalman.small import square_root
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key


@struct.dataclass
class EnvParams(base.EnvParams):
    """Numbers of the market; matrices that are None are drawn anew in every episode."""

    radius_high: float = 0.95  # largest eigenvalue of a drawn A
    radius_low: float = 0.665  # smallest; the others lie evenly between
    transition_noise: float = 0.1  # q, variance of each hidden shock
    observation_noise: float = 0.5  # r, variance of each observation's error
    payoff_noise: float = 0.3  # σ, standard deviation
    drift: float = 0.0  # angle per round by which A turns in its first plane [rad]
    transition: Any = None  # A, [d, d]
    observation: Any = None  # C, [p, d]
    loadings: Any = None  # θ, [K, d]; [m] where arms share it through features
    max_steps_in_episode: int = 4000


@struct.dataclass
class EnvState(base.EnvState):
    """The market, and what the filter that knows it would think."""

    latent: Array  # z, [d]
    seen: Array  # x, [p]
    transition: Array  # A, [d, d]
    observation: Array  # C, [p, d]
    loadings: Array  # [K, d], of payoffs on z
    features: Array  # Φ, [K, m, d]; m = 0 where every arm has its own θ
    filtered_mean: Array  # [d]
    filtered_covariance: Array  # [d, d]
    projection: Array  # [d, p], best linear guess of z from x alone
    regret_sum: Array  # [3]


@dataclasses.dataclass(frozen=True)
class PartiallyObservedBandit(Bandit):
    """K arms whose payoffs are linear in a hidden, correlated context; a noisy part is seen.

        z' = A z + w,   x = C z + v,   payoff_k = θ_k·z,  or θ·(Φ_k z) where θ is shared

    Action: the arm. Observation: x, [p]. Reward: the payoff of the arm plus noise. Regrets: the
    feasible rule is greedy under the Kalman filter with the true parameters, the observable one
    under the best linear guess of z from x. Drawn instances have A = U diag(λ) Uᵀ with a random
    orthogonal U, and C, θ and Φ with independent N(0, 1/d) entries. The first z is stationary.

    Attributes:
      num_arms: K.
      context_dim: d.
      observation_dim: p, at most d if `observes_subset`.
      observes_subset: C = [I 0], the first p entries of z.
      observation_known: whether learners may use C.
      num_features: m > 0 shares θ [m] between arms, through known features; 0: one θ per arm.
      student_dof: 0: Gaussian shocks; n >= 3: Student t with n degrees of freedom, scaled to the
        same variance.

    Source: of the setting, Zeng, Bhatt, Koppel & Ganesh (2024), arXiv 2409.11521; numbers and the
    law of the instances are our choice.
    """

    num_arms: int = 5
    context_dim: int = 4
    observation_dim: int = 2
    observes_subset: bool = False
    observation_known: bool = False
    num_features: int = 0
    student_dof: int = 0

    has_oracle = True

    def __post_init__(self):
        for name in ("num_arms", "context_dim", "observation_dim"):
            base.require_count(name, getattr(self, name))
        if self.num_features:
            base.require_count("num_features", self.num_features)
        if self.observes_subset and self.observation_dim > self.context_dim:
            raise ValueError(
                f"observation_dim must be at most context_dim = {self.context_dim} where a subset "
                f"is observed, got {self.observation_dim}."
            )
        if self.student_dof != 0 and (
            isinstance(self.student_dof, bool)
            or not isinstance(self.student_dof, int)
            or self.student_dof < 3
        ):
            raise ValueError(
                f"student_dof must be 0 or at least 3, for a finite variance, and a whole number, "
                f"got {self.student_dof}."
            )

    @property
    def name(self) -> str:
        """The registry's id."""
        return "PartiallyObservedLinearBandit-v0"

    @property
    def latent_dim(self) -> int:
        """d."""
        return self.context_dim

    @property
    def default_params(self) -> EnvParams:
        """Five arms on four slow factors, seen through two noisy mixtures."""
        return EnvParams()

    def check(self, params: EnvParams) -> None:
        """Raise ValueError for eigenvalues, variances or a drift out of range."""
        for name in ("radius_high", "radius_low"):
            require(name, getattr(params, name), lambda x: np.abs(x) < 1.0, "below 1 in modulus")
        for name in ("transition_noise", "observation_noise"):
            require(name, getattr(params, name), positive, "positive, a variance")
        require("payoff_noise", params.payoff_noise, not_negative, "at least 0 and finite")
        require("drift", params.drift, np.isfinite, "finite")

    def observation_space(self, params: EnvParams) -> base.Box:
        """x, [p] unbounded."""
        return base.Box(-jnp.inf, jnp.inf, (self.observation_dim,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """An instance, drawn where `params` leaves it open, and its first observation."""
        key_instance, key_shocks = jax.random.split(key)
        transition, observation, loadings, features = self._instance(key_instance, params)
        model = self._model(transition, observation, params)
        spread = stationary_covariance(transition, model.transition_noise)
        root = square_root(spread[..., None])[..., 0]
        _, state_shock, error = self._shocks(key_shocks, params)
        latent = root @ state_shock
        seen = observation @ latent + error
        one = jnp.ones((), latent.dtype)
        mean, covariance = filter_step(model, jnp.zeros_like(latent), spread, seen, one)
        state = EnvState(
            time=jnp.int32(0),
            latent=latent,
            seen=seen,
            transition=transition,
            observation=observation,
            loadings=loadings,
            features=features,
            filtered_mean=mean,
            filtered_covariance=covariance,
            projection=_gain(covariance, observation, params),
            regret_sum=jnp.zeros(3, latent.dtype),
        )
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Pay the arm, then move the context on; info has the regrets and `expected_reward`."""
        chex.assert_rank(action, 0)
        payoff_shock, state_shock, error = self._shocks(key, params)
        payoff = state.loadings @ state.latent  # [K]
        noise = jnp.asarray(params.payoff_noise, float) * payoff_shock
        feasible = jnp.argmax(state.loadings @ state.filtered_mean)
        observable = jnp.argmax(state.loadings @ (state.projection @ state.seen))
        regret = regret_of_choices(payoff, action, feasible, observable)
        transition = _turned(state.transition, params.drift)
        scale = jnp.sqrt(jnp.asarray(params.transition_noise, float))
        latent = transition @ state.latent + scale * state_shock
        seen = state.observation @ latent + error
        model = self._model(transition, state.observation, params)
        predicted = predict_step(model, state.filtered_mean, state.filtered_covariance)
        mean, covariance = filter_step(model, *predicted, seen, jnp.ones((), latent.dtype))
        state = state.replace(
            time=state.time + 1,
            latent=latent,
            seen=seen,
            transition=transition,
            filtered_mean=mean,
            filtered_covariance=covariance,
            regret_sum=state.regret_sum + regret,
        )
        info = regret_info(regret) | {"expected_reward": payoff[action]}
        obs = self.observe(key, state, action, params)
        return obs, state, payoff[action] + noise, jnp.bool_(False), info

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """x, [p]."""
        return state.seen

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """The three regrets, summed over the rounds."""
        return dict(zip(REGRETS, state.regret_sum, strict=True))

    def oracle(self, state: EnvState, params: EnvParams) -> Oracle:
        """z, and the true filter's mean."""
        return Oracle(state.latent, state.filtered_mean)

    def known_observation(self, state: EnvState, params: EnvParams) -> Array | None:
        """C where learners may use it."""
        return state.observation if self.observation_known else None

    def arm_features(self, state: EnvState, params: EnvParams) -> Array | None:
        """Φ, [K, m, d], where θ is shared."""
        return state.features if self.num_features else None

    def _instance(self, key: Key, params: EnvParams) -> tuple[Array, Array, Array, Array]:
        """A, C, payoff loadings [K, d] and features, given or drawn."""
        d, p, arms, m = self.context_dim, self.observation_dim, self.num_arms, self.num_features
        shapes = ((d, d), (p, d), (m,) if m else (arms, d), (arms, m, d))
        square, *drawn = _split(jax.random.normal(key, (sum(map(math.prod, shapes)),)), shapes)
        observation, loadings, features = (d**-0.5 * entries for entries in drawn)
        given = lambda value, default: default if value is None else jnp.asarray(value, float)
        high, low = (jnp.asarray(x, float) for x in (params.radius_high, params.radius_low))
        basis = orthogonalised(square)
        eigenvalues = high + (low - high) * jnp.linspace(0.0, 1.0, d)
        transition = (basis * eigenvalues[None]) @ basis.T
        if self.observes_subset:
            observation = jnp.eye(p, d)
        loadings = given(params.loadings, loadings)
        if m:
            loadings = jnp.einsum("m,kmd->kd", loadings, features)
        observation = given(params.observation, observation)
        return given(params.transition, transition), observation, loadings, features

    def _model(self, transition: Array, observation: Array, params: EnvParams) -> LinearGaussian:
        d, p = self.context_dim, self.observation_dim
        return LinearGaussian(
            transition,
            jnp.asarray(params.transition_noise, float) * jnp.eye(d),
            observation,
            jnp.asarray(params.observation_noise, float) * jnp.eye(p),
            jnp.zeros(d),
            jnp.eye(d),
        )

    def _shocks(self, key: Key, params: EnvParams) -> tuple[Array, Array, Array]:
        """Of the payoff, () of unit variance; of z, [d] of unit variance; the error of x, [p].

        One call draws all, which compiles faster than one for each.
        """
        d, p, dof = self.context_dim, self.observation_dim, self.student_dof
        normal = jax.random.normal(key, (1 + (d + p) * (1 + dof),))
        payoff, shocks, squares = _split(normal, ((), (d + p,), (dof, d + p)))
        if dof:
            shocks = shocks * jnp.sqrt((dof - 2.0) / jnp.sum(jnp.square(squares), axis=0))
        return (
            payoff,
            shocks[:d],
            jnp.sqrt(jnp.asarray(params.observation_noise, float)) * shocks[d:],
        )


def orthogonalised(matrix: Array) -> Array:
    """An orthogonal matrix from rows of full rank [n, n], by Gram and Schmidt, twice.

    Of independent normal entries it is uniform, up to signs.
    """
    columns: list[Array] = []
    for column in matrix:
        for _ in range(2):  # the second pass removes what rounding left
            for other in columns:
                column = column - (other @ column) * other
            column = column / jnp.sqrt(jnp.sum(jnp.square(column)))
        columns.append(column)
    return jnp.stack(columns, axis=1)


def _split(numbers: Array, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    """A vector cut into arrays of these shapes."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    starts = [0, *ends[:-1]]
    return [
        numbers[start:end].reshape(shape)
        for start, end, shape in zip(starts, ends, shapes, strict=True)
    ]


def _gain(posterior: Array, observation: Array, params: EnvParams) -> Array:
    """Σ Cᵀ (C Σ Cᵀ + r I)⁻¹ = P Cᵀ / r, with P the covariance of z given x alone."""
    return posterior @ observation.T / jnp.asarray(params.observation_noise, float)


def _turned(transition: Array, angle: Any) -> Array:
    """A turned by an angle in the plane of the first two coordinates; its eigenvalues stay."""
    if transition.shape[0] < 2:
        return transition
    angle = jnp.asarray(angle, transition.dtype)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    plane = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    turn = jnp.eye(transition.shape[0], dtype=transition.dtype).at[:2, :2].set(plane)
    return turn @ transition @ turn.T


def make_partially_observed_bandit(
    *,
    transition: Any = None,
    observation: Any = None,
    loadings: Any = None,
    radius: tuple[float, float] | None = None,
    transition_noise: float = 0.1,
    observation_noise: float = 0.5,
    payoff_noise: float = 0.3,
    drift: float = 0.0,
    num_rounds: int = 4000,
    **structure: Any,
) -> tuple[PartiallyObservedBandit, EnvParams]:
    """The bandit and its parameters, checked.

    Args:
      transition, observation, loadings: A [d, d], C [p, d] and θ [K, d]; drawn in every episode
        where None. Given ones set the counts that `structure` leaves out.
      radius: (largest, smallest) eigenvalue of a drawn A; (0.95, 0.665) if None.
      transition_noise, observation_noise: variances, > 0.
      payoff_noise: standard deviation, >= 0.
      drift: angle per round by which A turns.
      num_rounds: rounds of an episode.
      **structure: fields of `PartiallyObservedBandit`.

    Raises:
      ValueError: unstable dynamics, a variance that is not positive, a matrix of the wrong shape,
        or no arms.
    """
    known = {field.name for field in dataclasses.fields(PartiallyObservedBandit)}
    for name in structure:
        if name not in known:
            raise ValueError(unknown_name("keyword of the bandit", name, known))
    for name, value in (("transition", transition), ("observation", observation)):
        if value is not None and np.ndim(value) != 2:
            raise ValueError(f"{name} must be a matrix, got the shape {np.shape(value)}.")
    if transition is not None:
        structure.setdefault("context_dim", int(np.shape(transition)[0]))
    if observation is not None:
        structure.setdefault("observation_dim", int(np.shape(observation)[0]))
    if loadings is not None and np.ndim(loadings) == 2:
        structure.setdefault("num_arms", int(np.shape(loadings)[0]))
    env = PartiallyObservedBandit(**structure)
    d, p, arms, m = env.context_dim, env.observation_dim, env.num_arms, env.num_features
    shapes = {
        "transition": (transition, (d, d)),
        "observation": (observation, (p, d)),
        "loadings": (loadings, (m,) if m else (arms, d)),
    }
    for name, (value, shape) in shapes.items():
        if value is not None and np.shape(value) != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {np.shape(value)}.")
        check_finite(name, value)
    check_stable("transition", None if transition is None else np.asarray(transition))
    if radius is not None and np.shape(radius) != (2,):
        raise ValueError(
            f"radius must be a pair, the largest and the smallest eigenvalue, got {radius!r}."
        )
    high, low = (0.95, 0.665) if radius is None else radius
    base.require_count("num_rounds", num_rounds)
    to_array = lambda value: None if value is None else jnp.asarray(value, float)
    params = EnvParams(
        radius_high=high,
        radius_low=low,
        transition_noise=transition_noise,
        observation_noise=observation_noise,
        payoff_noise=payoff_noise,
        drift=drift,
        transition=to_array(transition),
        observation=to_array(observation),
        loadings=to_array(loadings),
        max_steps_in_episode=num_rounds,
    )
    env.check(params)
    return env, params
