"""Match people to places by lottery: the most welfare that leaves everyone a fair share, as an LP.

    max  sum_ij v_ij p_ij    over doubly stochastic p with  sum_j v_ij p_ij >= share  for each i

Prints the lottery, the welfare for growing shares, and the price of fairness: the derivative of
welfare in the share equals minus the sum of the bounds' multipliers.

    python examples/fair_matching.py
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers import linear_programme


def fair_lottery(values, share):
    """(lottery [N, N], solution) of greatest welfare.

    Args:
      values: [N, N], what person i gets from place j.
      share: what everyone must expect at least.
    """
    size = values.shape[0]
    rows = np.kron(np.eye(size), np.ones(size))
    columns = np.kron(np.ones(size), np.eye(size))
    own = jnp.reshape(jnp.eye(size)[:, :, None] * values[None], (size, size * size))
    solution = linear_programme(
        -jnp.reshape(values, -1),
        equality_matrix=np.concatenate([rows, columns]),
        equality_rhs=np.ones(2 * size),
        inequality_matrix=-own,
        inequality_rhs=jnp.full(size, -share),
        lower=0.0,
    )
    return jnp.reshape(solution.value, (size, size)), solution


def welfare(values, share):
    """Expected sum of values under the fair lottery."""
    return jnp.sum(values * fair_lottery(values, share)[0])


def main():
    with jax.enable_x64(True):
        values = jnp.asarray([[0.9, 0.5, 0.1], [0.8, 0.3, 0.2], [0.7, 0.6, 0.0]])
        print("share   welfare   price of fairness   its multipliers")
        for share in (0.0, 0.3, 0.4, 0.48):
            slope = jax.grad(welfare, argnums=1)(values, jnp.asarray(share))
            _, solution = fair_lottery(values, share)
            price = solution.inequality_multipliers.sum()
            print(
                f"{share:<6}  {welfare(values, share):.4f}    {-slope:.4f}              {price:.4f}"
            )
        print("lottery at the last share:")
        print(np.round(np.asarray(fair_lottery(values, 0.48)[0]), 3))


if __name__ == "__main__":
    main()
