"""jaxecon on batched quadratic programmes: our side of bench/qp_vs_qpax.py."""

from qp_task import serve

from jaxecon.solvers import quadratic_programme

TOLERANCE = {"float64": 1e-7, "float32": 1e-4}  # qpax's: 1e-5 absolute, in float64


def solve_both(quadratic, linear, rows, rhs):
    """(x, z) of a batch."""
    found = quadratic_programme(
        quadratic,
        linear,
        inequality_matrix=rows,
        inequality_rhs=rhs,
        tolerance=TOLERANCE[quadratic.dtype.name],
    )
    return found.value, found.inequality_multipliers


if __name__ == "__main__":
    serve(lambda *problem: solve_both(*problem)[0], solve_both, "jaxecon")
