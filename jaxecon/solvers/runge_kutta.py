"""Ordinary differential equations: the classical Runge-Kutta step on any pytree."""

from collections.abc import Callable

import jax

from jaxecon.types import Array, PyTree


def runge_kutta_step(
    derivative: Callable[[PyTree], PyTree], state: PyTree, step: Array | float
) -> PyTree:
    """State after a time `step` of x' = f(x), by the classical method of order four.

        x(h) ≈ x + h/6 (k₁ + 2 k₂ + 2 k₃ + k₄)
        k₁ = f(x),  k₂ = f(x + h/2 k₁),  k₃ = f(x + h/2 k₂),  k₄ = f(x + h k₃)

    The error of one step is O(h⁵). Stable for decay x' = -λx up to λh = 2.78.

    Args:
      derivative: f, from a pytree of floats to one of the same structure and shapes.
      state: x.
      step: h, in the units of time.

    Source: Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, II.1.
    """

    def ahead(slope: PyTree, time: Array | float) -> PyTree:
        return jax.tree.map(lambda x, k: x + time * k, state, slope)

    first = derivative(state)
    second = derivative(ahead(first, 0.5 * step))
    third = derivative(ahead(second, 0.5 * step))
    fourth = derivative(ahead(third, step))
    mean = jax.tree.map(
        lambda a, b, c, d: (a + 2.0 * b + 2.0 * c + d) / 6.0, first, second, third, fourth
    )
    return ahead(mean, step)
