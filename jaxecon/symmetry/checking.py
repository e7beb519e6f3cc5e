"""Errors for numbers and matrices that cannot be those of a group."""

import operator
from typing import Any

import numpy as np


def require_real(name: str, array: np.ndarray) -> None:
    """Raise ValueError for complex numbers, whose imaginary part NumPy would drop."""
    if np.iscomplexobj(array):
        raise ValueError(
            f"{name} must be real, got {array.dtype}; write each complex coordinate as two real "
            "ones, as `standard` does."
        )


def require_whole(name: str, value: Any, limit: int | None = None) -> int:
    """The value as an int; ValueError unless it is a whole number from 1 to the limit."""
    whole = whole_number(value) or 0
    if whole >= 1 and (limit is None or whole <= limit):
        return whole
    wanted = "of at least 1" if limit is None else f"from 1 to {limit}"
    hint = ' For relabellings of many, network="sets" needs no group.' if whole >= 1 else ""
    raise ValueError(f"{name} must be a whole number {wanted}, got {value!r}.{hint}")


def whole_number(value: Any) -> int | None:
    """An int from Python's or NumPy's; None of anything else, and of True and False."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
