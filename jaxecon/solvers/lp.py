"""Linear programmes by the thousand, differentiable in every number.

    min_x  c·x    s.t.   A x = b,   G x <= h,   l <= x <= u

The quadratic solver with Q = 0. Where the optimum is not unique, the answer is the one that the
interior point tends to, inside the face of optima.
"""

from typing import Any

import numpy as np

from jaxecon.solvers.checking import common_dtype
from jaxecon.solvers.qp import Solution, quadratic_programme


def linear_programme(
    cost: Any,
    *,
    equality_matrix: Any = None,
    equality_rhs: Any = None,
    inequality_matrix: Any = None,
    inequality_rhs: Any = None,
    lower: Any = None,
    upper: Any = None,
    smoothing: Any = 0.0,
    num_iterations: int = 60,
    tolerance: float | None = None,
) -> Solution:
    """Minimum of a linear function on a polyhedron.

    Derivatives of a vertex with respect to `cost` are zero, as they must be; those of the optimal
    value are the vertex itself. For a vertex that moves with the cost, set `smoothing` above 0.

    Args:
      cost: c, [..., n] objective per unit.
      equality_matrix, equality_rhs, inequality_matrix, inequality_rhs, lower, upper, smoothing,
        num_iterations, tolerance: as in `quadratic_programme`.

    Returns:
      `Solution`, with `status` for infeasible and unbounded programmes.

    Raises:
      ValueError: as `quadratic_programme` does.
    """
    size = np.shape(cost)[-1:]
    if not size:
        raise ValueError(f"cost must be [..., n] with n >= 1, got {np.shape(cost)}.")
    return quadratic_programme(
        np.zeros((*size, *size), common_dtype(cost)),
        cost,
        equality_matrix=equality_matrix,
        equality_rhs=equality_rhs,
        inequality_matrix=inequality_matrix,
        inequality_rhs=inequality_rhs,
        lower=lower,
        upper=upper,
        smoothing=smoothing,
        num_iterations=num_iterations,
        tolerance=tolerance,
    )
