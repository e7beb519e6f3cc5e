"""Convolutions of images commute with quarter turns and mirrors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxecon.networks.equivariant import InvariantHead
from jaxecon.networks.equivariant_2d import (
    GroupConv2D,
    LiftConv2D,
    act_on_features,
    act_on_image,
    pixel_index,
)
from jaxecon.symmetry import (
    Representation,
    cyclic,
    dihedral,
    direct_sum,
    equivariance_error,
    sign,
    standard,
    trivial,
    z2,
)

PLANES = {
    "C4": standard(cyclic(4)),
    "D4": standard(dihedral(4)),
    "mirror": direct_sum(sign(z2()), trivial(z2())),
}


def test_elements_turn_images_as_rot90_does(key):
    image = jax.random.normal(key, (2, 5, 5, 3))
    plane = PLANES["D4"]
    for turns in range(4):
        moved = act_on_image(plane, turns, image)
        np.testing.assert_array_equal(moved, jnp.rot90(image, turns, axes=(1, 2)))
    np.testing.assert_array_equal(act_on_image(plane, 4, image), image[:, ::-1])
    np.testing.assert_array_equal(act_on_image(PLANES["mirror"], 1, image), image[:, :, ::-1])
    both = act_on_image(plane, 4, act_on_image(plane, 1, image))
    np.testing.assert_array_equal(both, act_on_image(plane, int(dihedral(4).mul[4, 1]), image))


class Stages(nn.Module):
    """Lift, convolve and take the mean over pixels; features of each stage."""

    plane: Representation
    stride: int
    window: int = 3
    padding: str = "SAME"

    @nn.compact
    def __call__(self, image):
        banks = {"relaxed": True, "num_banks": 2}
        lifted = LiftConv2D(self.plane, 2, self.window, padding=self.padding, **banks)(image)
        features = jnp.tanh(lifted)
        features = GroupConv2D(self.plane, 2, self.window, self.stride, "VALID", **banks)(features)
        return lifted, features, InvariantHead(1)(features.mean(axis=(1, 2)))


def gaps(plane, size, stride, noise=0.0, **settings):
    """Largest errors of the three stages over the generators of the group."""
    random = np.random.default_rng(0)
    image = random.normal(size=(2, size, size, 2)).astype(np.float32)
    module = Stages(plane, stride, **settings)

    def draw(path, leaf):
        drawn = random.normal(size=leaf.shape).astype(np.float32)
        return 1.0 + noise * drawn if path[-1].key == "relax_w" else 0.3 * drawn

    shapes = jax.eval_shape(module.init, jax.random.key(0), image)
    params = jax.tree.map_with_path(draw, shapes)
    apply = jax.jit(module.apply)
    lifted, features, value = apply(params, image)
    worst = np.zeros(3)
    for element in plane.group.generators:
        moved = apply(params, act_on_image(plane, element, jnp.asarray(image)))
        expected = (
            act_on_features(plane, element, lifted),
            act_on_features(plane, element, features),
            value,
        )
        found = [jnp.abs(a - b).max() for a, b in zip(moved, expected, strict=True)]
        worst = np.maximum(worst, found)
    return worst


@pytest.mark.parametrize(("name", "stride"), [("C4", 1), ("D4", 2), ("mirror", 1)])
def test_odd_images_commute(name, stride):
    assert gaps(PLANES[name], 7, stride).max() < 1e-5  # float32


def test_even_images_do_not_at_stride_two_and_nor_do_unequal_weights():
    assert gaps(PLANES["C4"], 6, 2)[1] > 1e-3
    assert (gaps(PLANES["C4"], 7, 1, noise=0.1)[:2] > 1e-3).all()


def test_even_windows_commute_unless_they_are_padded(key):
    assert gaps(PLANES["C4"], 6, 1, window=2, padding="VALID").max() < 1e-5  # float32
    with pytest.raises(ValueError, match='must be odd with padding "SAME", got 2'):
        gaps(PLANES["C4"], 6, 1, window=2)
    features = jnp.ones((1, 5, 5, 4, 1))
    with pytest.raises(ValueError, match='must be odd with padding "SAME", got 4'):
        GroupConv2D(PLANES["C4"], 1, 4).init(key, features)
    with pytest.raises(AssertionError, match="dimension equal to '8' on axis '-2'"):
        GroupConv2D(PLANES["D4"], 1).init(key, features)


def test_errors_of_images_are_measured_element_by_element(key):
    """What acts on single pixels commutes; transposing does not commute with quarter turns."""
    plane, image = PLANES["C4"], jax.random.normal(key, (2, 5, 5, 1))
    move = lambda element, x: act_on_image(plane, element, x)
    assert equivariance_error(jnp.tanh, image, move, move, 4).max == 0.0
    gap = equivariance_error(lambda x: jnp.swapaxes(x, 1, 2), image, move, move, 4)
    assert gap.max > 1.0
    features = jax.random.normal(key, (2, 3, 3, 4, 1))
    carry = lambda element, x: act_on_features(plane, element, x)
    assert equivariance_error(jnp.tanh, features, carry, carry, 4).max == 0.0


@pytest.mark.parametrize("plane", [standard(cyclic(8)), trivial(cyclic(4), 3)])
def test_planes_that_need_interpolation_are_refused(plane):
    with pytest.raises(ValueError, match="plane must be a representation of dimension 2"):
        pixel_index(plane, 3)
