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

    @nn.compact
    def __call__(self, image):
        banks = {"relaxed": True, "num_banks": 2}
        lifted = LiftConv2D(self.plane, 2, **banks)(image)
        features = jnp.tanh(lifted)
        features = GroupConv2D(self.plane, 2, 3, self.stride, "VALID", **banks)(features)
        return lifted, features, InvariantHead(1)(features.mean(axis=(1, 2)))


def gaps(plane, size, stride, noise=0.0):
    """Largest errors of the three stages over the generators of the group."""
    random = np.random.default_rng(0)
    image = random.normal(size=(2, size, size, 2)).astype(np.float32)
    module = Stages(plane, stride)

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


@pytest.mark.parametrize("plane", [standard(cyclic(8)), trivial(cyclic(4), 3)])
def test_planes_that_need_interpolation_are_refused(plane):
    with pytest.raises(ValueError, match="plane must be a representation of dimension 2"):
        pixel_index(plane, 3)
