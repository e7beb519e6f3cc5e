"""What a mechanism is: a pure function from reports (and learned parameters) to an outcome.

A type says what agents want and what there is to share; a report has the same form, with the
private fields possibly untrue. `Mechanism.__call__` maps reports to an `Outcome`; the type's
`utility` says what the outcome is worth to the agents whose type it is. Everything takes any
leading axes, so one instance `[N, M]` and a batch `[B, N, M]` go through the same code.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxecon.solvers.checking import common_dtype, concrete, require
from jaxecon.types import Array, Key, PyTree


class Outcome(NamedTuple):
    """What a mechanism decides.

    Attributes:
      allocation: [..., N, M] units (or probability) of good m that agent i gets.
      payment: [..., N] what agent i pays; zeros where there is no money.
    """

    allocation: Array
    payment: Array


def without_payment(allocation: Array) -> Outcome:
    """The outcome of an allocation [..., N, M] for which nobody pays."""
    return Outcome(allocation, jnp.zeros(allocation.shape[:-1], allocation.dtype))


@struct.dataclass
class AllocationTypes:
    """N agents who share M divisible resources without money.

        u_i = sum_m v_im min(a_im, x_im)

    Attributes:
      valuations: v, [..., N, M] utils per unit, >= 0; private.
      demands: x, [..., N, M] units beyond which agent i has no use for resource m; private.
      supplies: b, [..., M] units; public.
      weights: w, [..., N] bargaining weights, > 0; public.
    """

    valuations: Array
    demands: Array
    supplies: Array
    weights: Array

    private: ClassVar[tuple[str, ...]] = ("valuations", "demands")

    @property
    def num_agents(self) -> int:
        """N."""
        return self.valuations.shape[-2]

    def utility(self, outcome: Outcome) -> Array:
        """[..., N] utils of an outcome to agents of these types."""
        used = jnp.minimum(outcome.allocation, self.demands)
        return jnp.sum(self.valuations * used, axis=-1) - outcome.payment


@struct.dataclass
class AuctionTypes:
    """N bidders and M items; quasi-linear utility, linear in the probability of each item.

        u_i = sum_m v_im g_im - p_i

    Attributes:
      valuations: v, [..., N, M] money per item, >= 0; private.
      unit_demand: whether a bidder can use one item only; then sum_m g_im <= 1 must hold.
    """

    valuations: Array
    unit_demand: bool = struct.field(pytree_node=False, default=False)

    private: ClassVar[tuple[str, ...]] = ("valuations",)

    @property
    def num_agents(self) -> int:
        """N."""
        return self.valuations.shape[-2]

    def utility(self, outcome: Outcome) -> Array:
        """[..., N] utils of an outcome to bidders of these types."""
        return jnp.sum(self.valuations * outcome.allocation, axis=-1) - outcome.payment


Types = AllocationTypes | AuctionTypes


def check_types(types: Any) -> None:
    """Raise ValueError for shapes that do not match and, in concrete arrays, senseless numbers."""
    shape = np.shape(getattr(types, types.private[0]))
    if len(shape) < 2:
        raise ValueError(f"{types.private[0]} must be [..., N, M], got the shape {list(shape)}.")
    wanted = dict.fromkeys(types.private, shape)
    if isinstance(types, AllocationTypes):
        wanted |= {"supplies": (*shape[:-2], shape[-1]), "weights": shape[:-1]}
    for name, expected in wanted.items():
        value = getattr(types, name)
        if np.shape(value) != expected:
            raise ValueError(
                f"{name} must have the shape {list(expected)} to match {types.private[0]} "
                f"{list(shape)}, got {list(np.shape(value))}."
            )
        if name == "demands":  # infinite is no cap
            require(name, value, lambda x: x >= 0, "at least 0")
        elif name == "supplies":
            remedy = "Leave out a resource of which there is none."
            require(name, value, lambda x: np.isfinite(x) & (x > 0), "finite and above 0", remedy)
        else:
            require(name, value, lambda x: np.isfinite(x) & (x >= 0), "finite and at least 0")
    if isinstance(types, AllocationTypes):
        _check_interest(types.valuations, types.weights)


def _check_interest(valuations: Any, weights: Any) -> None:
    """Every agent of positive weight must value something."""
    values, weight = concrete(valuations), concrete(weights)
    if values is None or weight is None:
        return
    most = np.where(weight > 0.0, values.max(-1), 1.0)
    remedy = "Give an absent agent the weight 0."
    require("the largest valuation of each agent", most, lambda x: x > 0.0, "above 0", remedy)


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """A rule that turns reports into an outcome; subclasses implement `__call__`.

    Instances are frozen and hashable and hold structure only. What is learned is `params`.
    """

    @property
    def is_truthful(self) -> bool:
        """Whether no misreport gains by construction; False says that nothing is known."""
        return False

    def init(self, key: Key, types: Any) -> PyTree:
        """Fresh parameters for types of this shape; () where there is nothing to learn."""
        return ()

    def __call__(self, reports: Any, params: PyTree = (), smoothing: Any = None) -> Outcome:
        """The outcome of reports with leaves [..., N, M].

        Args:
          reports: `AllocationTypes` or `AuctionTypes` as the agents tell them.
          params: from `init` or from training.
          smoothing: barrier weight of an inner optimisation, traced; None is the mechanism's own
            choice. Mechanisms without one ignore it.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class FunctionMechanism(Mechanism):
    """A plain function of reports, or of (reports, params), as a mechanism.

    Attributes:
      function: returns an `Outcome`, or an allocation [..., N, M] without payments.
      is_truthful: whether no misreport gains by construction.
    """

    function: Callable[..., Any]
    is_truthful: bool = False

    def __call__(self, reports: Any, params: PyTree = (), smoothing: Any = None) -> Outcome:
        """The function's result as an outcome."""
        has_params = not (isinstance(params, tuple) and params == ())
        result = self.function(reports, params) if has_params else self.function(reports)
        outcome = result if isinstance(result, Outcome) else without_payment(result)
        wanted = np.shape(getattr(reports, reports.private[0]))
        if np.shape(outcome.allocation) != wanted:
            raise ValueError(
                f"the mechanism must return an allocation of the shape {list(wanted)} of the "
                f"reports, got {list(np.shape(outcome.allocation))}."
            )
        return outcome


def cast_like(params: PyTree, reports: Types) -> Any:
    """Parameters in the dtype of the reports, so that one set serves both precisions."""
    dtype = common_dtype(reports.valuations)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)


def as_mechanism(mechanism: Any) -> Mechanism:
    """The mechanism itself, or a plain function as one.

    Raises:
      TypeError: not callable.
    """
    if isinstance(mechanism, Mechanism):
        return mechanism
    if callable(mechanism):
        return FunctionMechanism(mechanism)
    raise TypeError(f"A mechanism must be a Mechanism or a function, got {mechanism!r}.")
