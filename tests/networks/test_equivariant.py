"""Equivariant layers commute with their group while relaxed weights are equal, and only then."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxecon.algos.symmetry import unevenness
from jaxecon.networks.dilation import DilationConv
from jaxecon.networks.equivariant import (
    GroupConv,
    InvariantHead,
    Lift,
    PooledNorm,
    VectorHead,
)
from jaxecon.networks.equivariant_2d import transformed
from jaxecon.networks.equivariant_linear import RelaxedLinear, hom_basis
from jaxecon.networks.equivariant_mlp import EquivariantMLP
from jaxecon.networks.groups import Block
from jaxecon.networks.heads import CategoricalHead
from jaxecon.networks.mlp import MLP
from jaxecon.networks.symmetric import symmetry_of
from jaxecon.symmetry import (
    act,
    components,
    copies,
    cyclic,
    determinant,
    dihedral,
    direct_sum,
    equivariance_error,
    outer,
    permutation,
    quotient,
    regular,
    sign,
    standard,
    symmetric,
    trivial,
    z2,
)

D4, S3, C5, S4 = dihedral(4), symmetric(3), cyclic(5), symmetric(4)
SIGNED = outer(sign(z2()), permutation(cyclic(4)))
# Every kind of representation; all of a group's are lifted side by side and come out side by side.
REPS = {
    "C5": [standard(C5), permutation(C5), trivial(C5, 2)],
    "D4": [standard(D4), determinant(standard(D4)), quotient(D4, (0, 4)), trivial(D4)],
    "S3": [permutation(S3), determinant(permutation(S3)), regular(S3)],
    "S4": [permutation(S4), trivial(S4)],
    "Z2 x C4": [SIGNED, outer(trivial(z2()), permutation(cyclic(4))), trivial(SIGNED.group)],
}
BANKS = {"C5": 1, "D4": 1, "S3": 2, "S4": 1, "Z2 x C4": 4}
BATCH = 4
ON_GROUP = GroupConv | VectorHead | InvariantHead | PooledNorm


def blocks_of(reps):
    """Two copies of each representation, one after the other."""
    ends = np.cumsum([0, *(2 * rep.dimension for rep in reps)])
    bounds = zip(ends[:-1], ends[1:], reps, strict=True)
    return tuple(Block(int(start), int(stop), 2, rep) for start, stop, rep in bounds)


def layers(name, relaxed, num_banks):
    """(layer, representation of its input, of its output) by name."""
    reps = REPS[name]
    inputs, outputs = direct_sum(*(copies(rep, 2) for rep in reps)), direct_sum(*reps)
    group, hidden = inputs.group, regular(inputs.group)
    banks = {"relaxed": relaxed, "num_banks": num_banks}
    features = copies_of_channels(hidden, 3)
    blocks, scalars, doubled = blocks_of(reps), trivial(group, 2), copies(outputs, 2)
    return {
        "Lift": (Lift(blocks, 3, **banks), inputs, features),
        "GroupConv": (GroupConv(group, 3, **banks), features, features),
        "VectorHead": (VectorHead(outputs, **banks), features, outputs),
        "InvariantHead": (InvariantHead(2, **banks), features, scalars),
        "InvariantHead max": (InvariantHead(2, "max", **banks), features, scalars),
        "PooledNorm": (PooledNorm(), features, features),
        "RelaxedLinear": (RelaxedLinear(inputs, outputs, 1, 2, relaxed), inputs, doubled),
        "EquivariantMLP": (EquivariantMLP(blocks, outputs, (3, 2), **banks), inputs, outputs),
    }  # fmt: skip


def copies_of_channels(rep, channels):
    """A representation on [n, C], flattened row by row."""
    eye = np.eye(channels)
    matrices = np.einsum("gij,cd->gicjd", rep.matrices, eye)
    size = rep.dimension * channels
    return type(rep)(rep.group, matrices.reshape(-1, size, size), "features")


def weights_of(module, x, seed=0, relaxed=0.0):
    """Weights and biases of size 0.3; relaxed ones 1, but for noise of the given size."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]

    def draw(path, leaf):
        noise = random.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "relax_w":
            return 1.0 + relaxed * noise
        return (relaxed if path[-1].key == "residual" else 0.3) * noise

    return jax.tree.map_with_path(draw, shapes)


def rows_of(rep, num=BATCH, seed=1):
    """Vectors [num, d]."""
    return np.random.default_rng(seed).normal(size=(num, rep.dimension)).astype(np.float32)


def error_of(module, params, rep_in, rep_out, x):
    """Equivariance error of a module whose inputs and outputs are flattened."""
    group = rep_in.group

    def function(rows):
        on_group = isinstance(module, ON_GROUP)
        shaped = jnp.reshape(rows, (len(rows), group.order, -1)) if on_group else rows
        return jnp.reshape(module.apply({"params": params}, shaped), (len(rows), -1))

    return equivariance_error(
        function,
        x,
        lambda element, x: act(rep_in, element, x),
        lambda element, y: act(rep_out, element, y),
        group.order,
    )


def errors(name, num_banks, noise=0.0):
    """Errors of every layer of a group, in one program."""
    cases, inputs = layers(name, True, num_banks), {}
    for layer, (module, rep_in, _) in cases.items():
        x = rows_of(rep_in)
        on_group = isinstance(module, ON_GROUP)
        shaped = x.reshape(BATCH, rep_in.group.order, -1) if on_group else x
        inputs[layer] = (weights_of(module, shaped, relaxed=noise), x)

    @jax.jit
    def run(inputs):
        return {
            layer: error_of(module, inputs[layer][0], rep_in, rep_out, inputs[layer][1])
            for layer, (module, rep_in, rep_out) in cases.items()
        }

    return run(inputs)


@pytest.mark.parametrize("name", REPS)
def test_layers_commute_with_the_group_at_equal_relaxed_weights(name):
    for layer, error in errors(name, BANKS[name]).items():
        assert error.max < 1e-5, f"{layer} of {name}: {error}"  # float32
        assert jnp.isfinite(error.relative)


def test_layers_with_unequal_weights_do_not():
    for layer, error in errors("D4", 2, noise=0.01).items():
        if layer == "PooledNorm":
            continue
        assert error.max > 1e-3, f"{layer}: {error}"


def test_what_is_not_equivariant_is_found_out():
    """A plain perceptron, and a layer with a bias for each element of the group."""
    rep = direct_sum(*(copies(rep, 2) for rep in REPS["D4"]))
    x, plain, lift = rows_of(rep), MLP((8,), 2), Lift(blocks_of(REPS["D4"]), 3)
    params, lifted = (weights_of(module, x) for module in (plain, lift))
    assert error_of(plain, params, rep, trivial(D4, 2), x).max > 1e-3

    class Biased:
        def apply(self, variables, x):
            return lift.apply(variables, x) + jnp.arange(8.0)[None, :, None]

    features = copies_of_channels(regular(D4), 3)
    assert error_of(lift, lifted, rep, features, x).max < 1e-5
    assert error_of(Biased(), lifted, rep, features, x).max > 1e-3


@pytest.mark.parametrize("name", ["S3", "Z2 x C4"])
def test_moving_the_input_is_moving_the_relaxed_weights(name):
    """f_w(ρ(k) x) = ρ(k) f_{w∘L_k}(x) with (w∘L_k)(h) = w(k h), in all layers at once."""
    module, rep_in, rep_out = layers(name, True, BANKS[name])["EquivariantMLP"]
    mul, x = jnp.asarray(rep_in.group.mul), rows_of(rep_in)

    @jax.jit
    def gaps(params):
        def shifted(path, leaf, k):
            return leaf[..., mul[k]] if path[-1].key == "relax_w" else leaf

        def gap(k):
            moved = jax.tree.map_with_path(functools.partial(shifted, k=k), params)
            left = module.apply({"params": params}, act(rep_in, k, x))
            right = act(rep_out, k, module.apply({"params": moved}, x))
            return jnp.abs(left - right).max(), jnp.abs(right).max()

        return jax.lax.map(gap, jnp.arange(len(mul)))

    gap, size = gaps(weights_of(module, x, relaxed=0.5))
    assert gap.max() < 1e-5 * max(float(size.max()), 1.0)
    unmoved = error_of(module, weights_of(module, x, relaxed=0.5), rep_in, rep_out, x)
    assert unmoved.max > 1e-2 * size.max(), "the weights must matter for this to be a test"


def test_symmetric_data_never_break_the_weights():
    """On whole orbits with an equivariant target the gradient in w is constant over the group."""
    module, rep_in, _ = layers("Z2 x C4", True, 2)["EquivariantMLP"]
    images = np.einsum("gij,bj->gbi", rep_in.matrices, rows_of(rep_in)).astype(np.float32)
    x = images.reshape(-1, rep_in.dimension)
    params, other = weights_of(module, x), weights_of(module, x, seed=2)

    @jax.jit
    def slopes(params, target):
        loss = lambda params: jnp.mean(jnp.square(module.apply({"params": params}, x) - target))
        gradient = jax.grad(loss)(params)
        return jnp.stack([jnp.ptp(layer["relax_w"], axis=-1).max() for layer in gradient.values()])

    target = module.apply({"params": other}, x)
    noise = np.random.default_rng(3).normal(size=target.shape).astype(np.float32)
    assert slopes(params, target).max() < 1e-5
    assert slopes(params, target + 0.1 * noise).min() > 1e-3


def test_exact_networks_stay_exact_under_training():
    """100 steps of Adam on a target without any symmetry."""
    module, rep_in, rep_out = layers("D4", False, 1)["EquivariantMLP"]
    x, target, optimizer = rows_of(rep_in), rows_of(rep_out), optax.adam(1e-2)
    loss = lambda params: jnp.mean(jnp.square(module.apply({"params": params}, x) - target))

    def step(carry, _):
        params, state = carry
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), loss(params)

    @jax.jit
    def train(params):
        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), None, 100)
        return error_of(module, params, rep_in, rep_out, x), losses

    error, losses = train(weights_of(module, x))
    assert losses[-1] < 0.9 * losses[0], "it must have learned something"
    assert error.max < 1e-5


def test_the_penalty_is_zero_with_zero_gradient_at_constant_weights_only():
    even, uneven = jnp.full((2, 8), 0.7), jnp.ones((2, 8)).at[0, 3].set(1.1)
    assert unevenness(even) == 0.0
    np.testing.assert_array_equal(jax.grad(unevenness)(even), jnp.zeros((2, 8)))
    np.testing.assert_allclose(unevenness(uneven), 2 * 7 * 0.1, rtol=0.02)  # smoothed by 0.001
    gradient = jax.grad(unevenness)(uneven)
    assert gradient[0, 3] > 0
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize("name", REPS)
def test_bases_span_what_averaging_over_the_group_keeps(name):
    """An independent route: the projector E -> mean of ρ_out(g) E ρ_in(g⁻¹)."""
    for rep_in in REPS[name]:
        for rep_out in REPS[name]:
            basis = hom_basis(rep_in, rep_out).reshape(-1, rep_in.dimension * rep_out.dimension)
            kron = np.einsum("gij,glk->gikjl", rep_out.matrices, rep_in.inverses)
            projector = kron.mean(axis=0).reshape(basis.shape[1], -1)
            np.testing.assert_allclose(basis.T @ basis, projector, atol=1e-9)
            np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-9)
            number = np.mean(rep_out.character * rep_in.character[rep_in.group.inv])
            assert len(basis) == round(number)


def test_bases_of_permutations_are_indicators_of_orbits():
    basis = hom_basis(permutation(S3), permutation(S3))
    np.testing.assert_allclose(basis[0], np.eye(3) / 3**0.5, atol=1e-9)
    np.testing.assert_allclose(basis[1], (1 - np.eye(3)) / 6**0.5, atol=1e-9)
    assert len(hom_basis(trivial(cyclic(1), 2), trivial(cyclic(1), 3))) == 6
    with pytest.raises(ValueError, match="must have one group"):
        hom_basis(trivial(S3), trivial(D4))


def test_gather_has_the_gradient_of_indexing(key):
    index = D4.mul[D4.inv]
    kernel = jax.random.normal(key, (8, 3))
    weights = jax.random.normal(key, (8, 8, 3))
    ours, plain = (
        jax.value_and_grad(lambda kernel, f=f: jnp.sum(weights * f(kernel)))(kernel)
        for f in (lambda kernel: transformed(kernel, index), lambda kernel: kernel[index])
    )
    np.testing.assert_array_equal(ours[0], plain[0])
    np.testing.assert_allclose(ours[1], plain[1], rtol=1e-5, atol=1e-6)  # sums in another order
    many = jax.vmap(jax.grad(lambda kernel: jnp.sum(weights * transformed(kernel, index))))
    np.testing.assert_allclose(many(jnp.stack([kernel, kernel]))[1], plain[1], rtol=1e-5, atol=1e-6)


def test_features_keep_their_scale_from_layer_to_layer(key):
    """Gain √2 of the hidden layers and 1 of the head, on inputs of size one."""
    blocks, signal = blocks_of(REPS["D4"]), trivial(D4, 64)
    rows = rows_of(direct_sum(*(copies(rep, 2) for rep in REPS["D4"])), 256)
    features = rows_of(regular(D4), 256 * 16).reshape(256, 8, 16)
    cases = [
        (Lift(blocks, 64, num_banks=4), rows, 2**0.5),
        (GroupConv(D4, 64, num_banks=4), features, 2**0.5),
        (VectorHead(signal, num_banks=4), features, 1.0),
        (RelaxedLinear(regular(D4), regular(D4), 16, 64), features.reshape(256, -1), 1.0),
    ]

    @jax.jit
    def deviations(key):
        return [module.apply(module.init(key, x), x).std() for module, x, _ in cases]

    for deviation, (module, _, gain) in zip(deviations(key), cases, strict=True):
        np.testing.assert_allclose(deviation, gain, rtol=0.15, err_msg=str(module))  # random


PLANE, OTHER = standard(D4), SIGNED.group  # two groups of order 8


@pytest.mark.parametrize(
    ("module", "shape", "error", "message"),
    [
        (Lift((Block(0, 2, 1, PLANE), Block(2, 3, 1, trivial(OTHER))), 3), (2, 3), ValueError,
         r"must have one group, by its table, got \[.*D4.*Z2 x C4"),
        (EquivariantMLP((Block(0, 2, 1, PLANE),), trivial(OTHER), (3,)), (2, 2), ValueError,
         r"output must be a representation of FiniteGroup\(D4, order 8\), got .*Z2 x C4"),
        (Lift((), 3), (2, 3), ValueError, "blocks must be at least one .*Block, got none"),
        (GroupConv(D4, 3, num_banks=0), (2, 8, 3), ValueError, "num_banks must .* got 0"),
        (DilationConv(3, reach=-1), (2, 6, 2), ValueError, "reach must be .* at least 0, got -1"),
        (InvariantHead(2, "maxi"), (2, 8, 3), ValueError, "Unknown pool 'maxi'.*'max'"),
        (Lift((Block(0, 2, 1, PLANE),), 3), (2, 5), AssertionError, "'2' on axis '-1' but got '5'"),
        (GroupConv(D4, 3), (2, 24), AssertionError, "'8' on axis '-2' but got '2'"),
        (VectorHead(PLANE), (2, 4, 3), AssertionError, "'8' on axis '-2' but got '4'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(key, module, shape, error, message):
    with pytest.raises(error, match=message):
        module.init(key, jnp.ones(shape))


def test_what_is_declared_must_be_a_symmetry():
    env = types.SimpleNamespace(symmetry=lambda: "D4")
    with pytest.raises(ValueError, match=r"symmetry\(\) of SimpleNamespace must return .* got str"):
        symmetry_of(env, "exact", 3, CategoricalHead(2))


def test_bases_that_are_shared_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        hom_basis(PLANE, PLANE)[0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        components(D4)[0].projector[0, 0] = 1.0


def test_heads_keep_single_precision_beside_double(key):
    x = jnp.ones((2, 8, 3))
    params = InvariantHead(2).init(key, x)
    with jax.enable_x64(True):
        assert InvariantHead(2).apply(params, x).dtype == jnp.float32


def test_scales_shift_along_the_pyramid(key):
    layer = DilationConv(3, relaxed=True)
    x = jnp.pad(jax.random.normal(key, (2, 3, 2)), ((0, 0), (1, 2), (0, 0)))  # [B, S = 6, C]
    params = layer.init(key, x)
    y, moved = layer.apply(params, x), layer.apply(params, jnp.roll(x, 1, axis=1))
    np.testing.assert_allclose(moved[:, 1:], y[:, :-1], atol=1e-6)
    uneven = {"params": params["params"] | {"relax_w": jnp.arange(6.0)[None]}}
    y, moved = layer.apply(uneven, x), layer.apply(uneven, jnp.roll(x, 1, axis=1))
    assert jnp.abs(moved[:, 1:] - y[:, :-1]).max() > 0.1
