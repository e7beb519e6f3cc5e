"""qpax on batched quadratic programmes: the peer of bench/qp_vs_qpax.py."""

import jax
import jax.numpy as jnp
import qpax
from qp_task import serve


def without_equations(solve):
    """A qpax solver of (Q, q, G, h) over a batch."""

    def one(quadratic, linear, rows, rhs):
        none = jnp.zeros((0, linear.shape[0]), linear.dtype), jnp.zeros(0, linear.dtype)
        return solve(quadratic, linear, *none, rows, rhs)

    return jax.vmap(one)


if __name__ == "__main__":
    both = without_equations(lambda *problem: qpax.solve_qp(*problem)[:3:2])  # x and z
    serve(without_equations(qpax.solve_qp_primal), both, "qpax")
