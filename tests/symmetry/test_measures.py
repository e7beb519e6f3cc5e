"""Measures of broken symmetry: errors and spectra that are known by hand, and paired simulation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.envs.games.cournot import Cournot
from jaxecon.symmetry import (
    SymmetrySpec,
    act,
    components,
    cyclic,
    dihedral,
    equivariance_error,
    paired_mismatch,
    product,
    relaxed_weight_spectrum,
    relaxed_weight_spread,
    standard,
    symmetric,
    trivial,
    z2,
)

PLANE = standard(cyclic(4))


def test_errors_of_a_shift_are_those_of_geometry():
    """f(x) = x + (1, 0): f(gx) - g f(x) = (1, 0) - g(1, 0), of length 0, √2, 2, √2."""
    x = jnp.array([[3.0, 0.0], [-1.0, 4.0]])
    move = lambda element, x: act(PLANE, element, x)
    error = equivariance_error(lambda x: x + jnp.array([[1.0, 0.0]]), x, move, move, 4)
    np.testing.assert_allclose(error.max, 2.0, rtol=1e-6)
    np.testing.assert_allclose(error.mean, (2.0 + 2.0 * 2.0**0.5) / 4.0, rtol=1e-6)
    np.testing.assert_allclose(error.relative, error.mean / 4.0, rtol=1e-6)  # |f(x)| is 4 for both
    same = equivariance_error(lambda x: jnp.sum(x**2, axis=-1), x, move, lambda _, y: y, 4)
    np.testing.assert_allclose(same.max, 0.0, atol=1e-6)


def test_a_function_that_is_zero_is_off_by_nothing_or_infinitely():
    x = np.array([[3.0, 0.0], [-1.0, 0.0]])  # float64, moved to float32 without a warning
    move = lambda element, x: act(PLANE, element, x)
    zero = equivariance_error(lambda x: 0.0 * x, x, move, move, 4)
    assert zero.relative == 0.0
    second = lambda x: jnp.round(x[:, 1:])  # 0 on x, not on all of g·x
    assert equivariance_error(second, x, move, lambda _, y: y, 4).relative == jnp.inf


@pytest.mark.parametrize(
    ("group", "ranks"),
    [
        (cyclic(1), [1]),
        (cyclic(4), [1, 1, 2]),
        (cyclic(5), [1, 2, 2]),
        (dihedral(4), [1, 1, 1, 1, 4]),
        (symmetric(3), [1, 1, 4]),
        (symmetric(4), [1, 1, 4, 9, 9]),
        (product(z2(), cyclic(4)), [1, 1, 1, 1, 2, 2]),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_components_are_the_known_ones(group, ranks):
    found = components(group)
    assert [component.rank for component in found] == ranks
    assert found[0].kernel == tuple(range(group.order))
    total = sum(component.projector for component in found)
    np.testing.assert_allclose(total, np.eye(group.order), atol=1e-9)
    for component in found:
        projector = component.projector
        np.testing.assert_allclose(projector @ projector, projector, atol=1e-9)
        for a in component.kernel:
            np.testing.assert_allclose(projector[group.mul[a]], projector, atol=1e-9)


def test_the_spectrum_says_which_subgroup_survives():
    group = product(z2(), cyclic(4))
    flipped = np.repeat([1.0, 0.5], 4)  # differs between the two signs alone
    spectrum = relaxed_weight_spectrum(group, jnp.asarray(flipped, jnp.float32))
    np.testing.assert_allclose(spectrum.sum(), 1.0, rtol=1e-6)
    pairs = zip(components(group), spectrum, strict=True)
    broken = [component for component, share in pairs if share > 1e-6]
    assert [component.rank for component in broken] == [1, 1]
    assert broken[1].kernel == (0, 1, 2, 3), "shifts are left"
    np.testing.assert_allclose(spectrum[0], 0.75**2 / (0.75**2 + 0.25**2), rtol=1e-5)
    equal = relaxed_weight_spectrum(group, jnp.ones((2, 8)))
    np.testing.assert_allclose(equal[:, 0], 1.0, rtol=1e-6)
    for given in (flipped, 2 * np.repeat([2, 1], 4)):  # float64, and whole numbers
        np.testing.assert_allclose(relaxed_weight_spectrum(group, given), spectrum, atol=1e-6)


def test_spread_is_deviation_over_mean_of_each_layer():
    params = {
        "actor": {"Lift_0": {"relax_w": jnp.array([[1.0, 3.0]]), "kernel": jnp.ones(2)}},
        "critic": {"GroupConv_0": {"relax_w": jnp.ones((2, 2))}},
        "log_std": jnp.zeros(2),
    }
    spread = relaxed_weight_spread(params)
    assert {name: float(x) for name, x in spread.items()} == {
        "actor/Lift_0": 0.5,
        "critic/GroupConv_0": 0.0,
    }
    assert relaxed_weight_spread({"actor": {"Dense_0": {"kernel": jnp.ones(2)}}}) == {}


@dataclasses.dataclass(frozen=True)
class Drift:
    """x' = x + a + noise + β e, reward 2 β a[0]: mismatches β √2..2 β and 2 β (|a| rotated)."""

    def symmetry(self):
        return SymmetrySpec(PLANE.group, ((slice(2), 1, PLANE),), PLANE)

    def noise(self, key, strength):
        return jax.random.normal(key, (2,))

    def transition(self, state, action, noise, strength):
        wind = strength * jnp.array([1.0, 0.0])
        return state + action + noise + wind, 2.0 * strength * action[0] + noise[0] * 0.0, {}

    def observe(self, key, state, action, strength):
        return state

    def act_on_state(self, element, state):
        return act(PLANE, element, state)

    act_on_noise = act_on_state

    def act_on_params(self, element, strength):
        return strength


def test_paired_simulation_finds_the_planted_mismatch(key):
    keys = jax.random.split(key, 5)
    states, actions = (
        jax.random.normal(key, (3, 2)),
        jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
    )
    exact = paired_mismatch(keys, Drift(), jnp.float32(0.0), states, actions)
    np.testing.assert_allclose(jnp.stack(exact), 0.0, atol=1e-5)  # float32
    broken = paired_mismatch(keys, Drift(), jnp.float32(0.25), states, actions)
    np.testing.assert_allclose(broken.reward, 1.0, rtol=1e-5)  # (1, 0) turned round
    np.testing.assert_allclose(broken.transition, 0.5, rtol=1e-5)
    np.testing.assert_allclose(
        broken.mean_transition, 0.25 * (2.0 + 2.0 * 2.0**0.5) / 4.0, rtol=1e-5
    )


@dataclasses.dataclass(frozen=True)
class Stubborn(Drift):
    """x' = x + a + ε and reward a·ε, symmetric in law, with noise ε that stays where it is."""

    def transition(self, state, action, noise, strength):
        return state + action + noise, jnp.dot(action, noise), {}

    def act_on_noise(self, element, noise):
        return noise


def test_noise_that_stays_behind_shows_in_the_standard_errors(key):
    """Gaps of rewards (g a - a)·ε have mean 0 and deviation 2|a| at the half turn, the largest."""
    keys, action = jax.random.split(key, 400), jnp.array([[1.0, 0.0]])
    found = paired_mismatch(keys, Stubborn(), jnp.float32(0.0), jnp.zeros((1, 2)), action)
    assert 0.0 < found.reward < 4.0 * 2.0 / 400**0.5, "0 but for noise"
    assert 0.5 * 2.0 / 400**0.5 < found.reward_error < 1.2 * 2.0 / 400**0.5
    rayleigh = (jnp.pi / 2.0) ** 0.5  # mean of |ε|; |g⁻¹ ε - ε| is 2|ε| at the half turn
    assert jnp.abs(found.transition - 2.0 * rayleigh) < 4.0 * found.transition_error
    mean = rayleigh * (2.0 + 2.0 * 2.0**0.5) / 4.0
    assert jnp.abs(found.mean_transition - mean) < 4.0 * found.mean_transition_error
    np.testing.assert_allclose(  # deviation of |ε|, by its known variance 2 - π/2
        found.transition_error, 2.0 * (2.0 - jnp.pi / 2.0) ** 0.5 / 400**0.5, rtol=0.15
    )
    assert found.mean_reward <= found.reward
    assert found.mean_reward_error > 0.0


def test_paired_simulation_says_what_an_environment_lacks(key):
    arguments = (key[None], Cournot(), None, jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    with pytest.raises(TypeError, match=r"SymmetricEnvironment.* Cournot lacks noise, transition"):
        paired_mismatch(*arguments)

    class Undeclared(Drift):
        def symmetry(self):
            return self.answer

    for answer, message in ((None, "must declare its symmetry"), ("D4", "SymmetrySpec.* got str")):
        Undeclared.answer = answer
        with pytest.raises(ValueError, match=message):
            paired_mismatch(key[None], Undeclared(), None, *arguments[3:])


def test_the_trivial_representation_moves_nothing():
    assert trivial(PLANE.group).character.tolist() == [1.0] * 4
