"""Errors for bad numbers while they are still numbers: traced values pass, and end up in flags."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.types import Array


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array, or None while JAX traces it."""
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)


def require(
    name: str, value: Any, holds: Callable[[np.ndarray], Any], must_be: str, remedy: str = ""
) -> None:
    """Raise ValueError for the first number of a concrete array that breaks a rule.

    Args:
      name: the argument's name.
      value: array, or a tracer, which passes.
      holds: elementwise rule, array -> array of bool.
      must_be: what the rule says, such as "at least 0".
      remedy: a further sentence on how to mend it.
    """
    numbers = concrete(value)
    if numbers is None:
        return
    wrong = ~np.asarray(holds(numbers), bool)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f" at {list(where)}" if where else ""
        hint = f" {remedy}" if remedy else ""
        raise ValueError(f"{name} must be {must_be}, got {numbers[where]:g}{place}.{hint}")


def common_dtype(*values: Any) -> Any:
    """Widest float dtype of the arrays that JAX is set to allow; its default if there is none."""
    dtypes = [value.dtype for value in values if hasattr(value, "dtype")]
    floats = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    default = jnp.zeros(()).dtype
    return jax.dtypes.canonicalize_dtype(np.result_type(*floats)) if floats else default


def as_floats(dtype: Any, *values: Any) -> list[Array]:
    """The values as arrays of one dtype."""
    return [jnp.asarray(value, dtype) for value in values]
