"""Mechanisms with parameters: proportional fairness bent by a network, and networks alone.

All of them divide resources without money, whatever their parameters are: no supply and no reported
demand is exceeded. A network decides how far to move from the fair division towards one that a
misreport changes less.

Sources: Zeng, Bhatt, Kreacic, Hassanzadeh, Koppel & Ganesh (2023), Learning Payment-Free Resource
Allocation Mechanisms, arXiv 2311.10927 (ExPF-Net, ExS-Net); Zeng, Bhatt, Koppel & Ganesh (2025),
Regularized Proportional Fairness Mechanism for Resource Allocation Without Money, arXiv 2501.01111;
Dütting, Feng, Narasimhan, Parkes & Ravindranath (2019), Optimal Auctions through Deep Learning.
Neither of the first two states formulas or layer sizes that could be checked here: what follows is
a reconstruction from their descriptions, and its numbers are its own.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxecon.mechanisms.base import (
    AllocationTypes,
    Mechanism,
    Outcome,
    cast_like,
    check_types,
    without_payment,
)
from jaxecon.mechanisms.trunk import (
    DenseLayer,
    TableLayer,
    apply_dense,
    apply_trunk,
    init_dense,
    init_trunk,
)
from jaxecon.solvers import proportional_fairness
from jaxecon.solvers.waterfill import waterfill
from jaxecon.types import Array, Key, PyTree

HEAD_SCALE = 0.1  # networks start near a rule without them
WITHHELD_LOGIT = -3.0  # of the synthetic agent at the start: with two agents, 2.4% is withheld
NUM_FEATURES = 4


class TrunkParams(NamedTuple):
    """Parameters of a trunk and of what is read off it."""

    trunk: tuple[TableLayer, ...]
    pair: DenseLayer  # one number per agent and resource
    pooled: DenseLayer  # one number per resource, or per instance


def pair_features(reports: AllocationTypes) -> Array:
    """What a network sees of each pair, [..., N, M, 4].

    Value as a share of the agent's values, demand, demand over supply, and the agent's weight over
    the mean weight: nothing depends on the scale of an agent's values or of the weights.
    """
    check_types(reports)
    v, x = reports.valuations, finite_demands(reports)
    over = lambda part, whole: part / jnp.maximum(whole, jnp.finfo(v.dtype).tiny)
    value_share = over(v, v.sum(-1, keepdims=True))
    weight = over(reports.weights, reports.weights.mean(-1, keepdims=True))
    filled = over(x, reports.supplies[..., None, :])
    weight = jnp.broadcast_to(weight[..., None], filled.shape)
    return jnp.stack(
        [jnp.broadcast_to(each, filled.shape) for each in (value_share, x, filled, weight)], axis=-1
    )


def finite_demands(reports: AllocationTypes) -> Array:
    """Demands up to twice the supply, [..., N, M] units, so that no cap is a number too.

    Not up to the supply: where reports stop to matter, an ascent on them loses its direction, and
    training sees less to gain than there is.
    """
    return jnp.clip(reports.demands, 0.0, 2.0 * reports.supplies[..., None, :])


@dataclasses.dataclass(frozen=True)
class TrunkMechanism(Mechanism):
    """Shared part of the mechanisms whose network is the equivariant trunk.

    Attributes:
      width: features per pair.
      depth: residual layers.
      num_iterations: most Newton steps of an inner solve; None is the solver's own choice.
    """

    width: int = 32
    depth: int = 2
    num_iterations: int | None = None

    def __post_init__(self):
        for name in ("width", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def init(self, key: Key, types: Any = None) -> TrunkParams:
        """Fresh parameters; they fit any number of agents and resources."""
        key_trunk, key_pair, key_pooled = jax.random.split(key, 3)
        return TrunkParams(
            init_trunk(key_trunk, NUM_FEATURES, self.width, self.depth),
            init_dense(key_pair, self.width, 1, HEAD_SCALE),
            init_dense(key_pooled, self.width, 1, HEAD_SCALE),
        )

    def _hidden(self, reports: AllocationTypes, params: TrunkParams) -> Array:
        """Features of each pair, [..., N, M, width]."""
        return apply_trunk(params.trunk, pair_features(reports))

    def _solve(self, reports: AllocationTypes, smoothing: Any, **costs: Any) -> Outcome:
        """The fair allocation less the given costs."""
        if self.num_iterations is not None:
            costs["num_iterations"] = self.num_iterations
        solution = proportional_fairness(
            reports.valuations,
            reports.demands,
            reports.supplies,
            reports.weights,
            smoothing=smoothing,
            **costs,
        )
        return without_payment(solution.value)


@dataclasses.dataclass(frozen=True)
class ExPF(TrunkMechanism):
    """Proportional fairness with a learned linear cost.

        a = argmax Σᵢ wᵢ log(vᵢ·aᵢ) - <c, a>  over 0 <= a <= x, Σᵢ aᵢ <= b
        c_im = cost_scale · wᵢ / (vᵢ·xᵢ) · max_k v_ik · net_im

    The scale of c makes the outcome independent of the units of values and weights; with net = 0 it
    is proportional fairness. How the published network enters the objective (sign, scale, per agent
    or not) is not public: this form is our reconstruction, kept for comparison. Between vertices
    the outcome jumps, which makes it hard to train; prefer `ExPFQuadratic`.

    Attributes:
      cost_scale: factor on the network's output.
    """

    cost_scale: float = 1.0

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M]; `smoothing` is the solver's."""
        params = cast_like(params, reports)
        net = apply_dense(params.pair, self._hidden(reports, params))[..., 0]  # [..., N, M]
        v, w = reports.valuations, reports.weights
        most = jnp.sum(v * finite_demands(reports), axis=-1)  # utility of a sated agent
        scale = w * v.max(-1) / jnp.maximum(most, jnp.finfo(v.dtype).tiny)
        cost = self.cost_scale * scale[..., None] * net
        return self._solve(reports, smoothing, linear_cost=cost)


@dataclasses.dataclass(frozen=True)
class ExPFQuadratic(TrunkMechanism):
    """Proportional fairness pulled towards a learned division; the recommended mechanism.

        a = argmax Σᵢ wᵢ log(vᵢ·aᵢ) - κ/2 · mean(w) · Σ_im ((a_im - t_im) / b_m)²
        t_im = min(b_m · softmaxᵢ(net)_m, x_im),   κ = exp(net₀) > 0, one per instance

    κ = 0 is proportional fairness, κ -> ∞ the target t, which is always feasible. The pull is
    strictly concave, so the outcome is unique and moves smoothly with the reports; κ starts near 1.

    Attributes:
      refill: raise the shares in t in one proportion until nothing that is wanted is left, see
        `fill`; κ -> ∞ can then be truthful and yet withhold nothing.
    """

    refill: bool = False

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M]; `smoothing` is the solver's."""
        target, pull = self.target(reports, cast_like(params, reports))
        supplies = reports.supplies[..., None, :]
        quadratic = jnp.broadcast_to(pull[..., None, None], target.shape) / supplies**2
        return self._solve(
            reports, smoothing, linear_cost=-quadratic * target, quadratic_cost=quadratic
        )

    def target(self, reports: AllocationTypes, params: TrunkParams) -> tuple[Array, Array]:
        """t, [..., N, M] units, and κ · mean(w), [...]."""
        hidden = self._hidden(reports, params)
        share = jax.nn.softmax(apply_dense(params.pair, hidden)[..., 0], axis=-2)
        claim = share * reports.supplies[..., None, :]
        target = _within_demands(claim, finite_demands(reports), self.refill)
        log_pull = apply_dense(params.pooled, hidden.mean((-3, -2)))[..., 0]
        return target, jnp.exp(log_pull) * reports.weights.mean(-1)


@dataclasses.dataclass(frozen=True)
class ExS(TrunkMechanism):
    """A network that divides each resource among the agents and a synthetic one.

        s = softmax over N + 1 of net,   a_im = min(b_m · s_im, x_im)

    What the synthetic agent gets is withheld from all, which plays the part of a payment. No solver
    runs, so it is the cheapest to train; it gives up some efficiency for that.

    Attributes:
      refill: give what an agent cannot use to the others, see `fill`: a_im = min(x_im, τ_m b_m
        s_im) with the τ_m >= 1 that hands out all that is not withheld.
    """

    refill: bool = False

    def init(self, key: Key, types: Any = None) -> TrunkParams:
        """Fresh parameters; they fit any number of agents and resources."""
        params = super().init(key, types)
        bias = params.pooled.bias + WITHHELD_LOGIT
        return params._replace(pooled=params.pooled._replace(bias=bias))

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M]; there is nothing to smooth."""
        params = cast_like(params, reports)
        hidden = self._hidden(reports, params)
        logits = apply_dense(params.pair, hidden)[..., 0]  # [..., N, M]
        withheld = apply_dense(params.pooled, hidden.mean(-3))[..., 0]  # [..., M]
        return _divide(logits, withheld, reports, self.refill)


@dataclasses.dataclass(frozen=True)
class RegretNetAllocation(Mechanism):
    """RegretNet's allocation network without money: a plain network with a slot that withholds.

        s = softmax over N + 1 of net(v, x, b, w),   a_im = min(b_m · s_im, x_im)

    As published for auctions, with the payment head replaced by the dummy slot as the only way to
    take something from an agent. Its parameters fit one number of agents and resources, and the
    order of agents matters to it.

    Attributes:
      hidden_sizes: widths of the tanh layers; two of 100 as published.
    """

    hidden_sizes: tuple[int, ...] = (100, 100)

    def init(self, key: Key, types: AllocationTypes) -> tuple[DenseLayer, ...]:
        """Fresh parameters for types of this many agents and resources."""
        num_agents, num_resources = types.valuations.shape[-2:]
        num_inputs = num_agents * num_resources * NUM_FEATURES
        widths = (num_inputs, *self.hidden_sizes, (num_agents + 1) * num_resources)
        keys = jax.random.split(key, len(widths) - 1)
        scales = (1.0,) * len(self.hidden_sizes) + (HEAD_SCALE,)
        pairs = itertools.pairwise(widths)
        return tuple(
            init_dense(key, *pair, scale)
            for key, pair, scale in zip(keys, pairs, scales, strict=True)
        )

    def __call__(
        self, reports: AllocationTypes, params: PyTree = (), smoothing: Any = None
    ) -> Outcome:
        """Allocation [..., N, M]; there is nothing to smooth."""
        *hidden_layers, head = cast_like(params, reports)
        features = pair_features(reports)
        hidden = jnp.reshape(features, (*features.shape[:-3], -1))
        for layer in hidden_layers:
            hidden = jnp.tanh(apply_dense(layer, hidden))
        *leading, num_agents, num_resources, _ = features.shape
        table = jnp.reshape(apply_dense(head, hidden), (*leading, num_agents + 1, num_resources))
        withheld = table[..., -1, :] + WITHHELD_LOGIT
        return _divide(table[..., :-1, :], withheld, reports, refill=False)


def _divide(logits: Array, withheld: Array, reports: AllocationTypes, refill: bool) -> Outcome:
    """Shares of N agents (logits [..., N, M]) and of nobody ([..., M]), within the demands."""
    table = jnp.concatenate([logits, withheld[..., None, :]], axis=-2)
    share = jax.nn.softmax(table, axis=-2)[..., :-1, :]
    claim = share * reports.supplies[..., None, :]
    return without_payment(_within_demands(claim, finite_demands(reports), refill))


def _within_demands(claims: Array, demands: Array, refill: bool) -> Array:
    """Claims cut at the demands; what that leaves goes to the others if asked for."""
    return fill(claims, demands) if refill else jnp.minimum(claims, demands)


def fill(claims: Array, demands: Array) -> Array:
    """Claims raised in one proportion per resource until all that was claimed is used.

        a_im = min(x_im, τ_m c_im)  with  Σᵢ a_im = min(Σᵢ c_im, Σᵢ x_im)

    With equal claims this is the uniform rule (Sprumont 1991), which no misreport helps against.

    Args:
      claims: c, [..., N, M] units, > 0.
      demands: x, [..., N, M] units, >= 0.

    Returns:
      a, [..., N, M] units.
    """
    across = lambda table: jnp.swapaxes(table, -1, -2)  # [..., M, N]
    demand, claim = across(demands), across(claims)
    return across(waterfill(jnp.zeros_like(demand), demand, claim, claim.sum(-1)).value)
