"""Masked choices against enumeration: probabilities, entropy, divergence, and no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.networks.heads import CategoricalHead, mask_logits

NUM_ACTIONS = 6
HEAD = CategoricalHead(NUM_ACTIONS)
HEAD_OF_3 = CategoricalHead(3)
# Every mask of six actions with at least one legal, [63, 6].
MASKS = (np.arange(1, 64)[:, None] >> np.arange(NUM_ACTIONS)[None, :]) % 2 == 1


def draw_logits(seed, dtype):
    return 3.0 * jax.random.normal(jax.random.key(seed), MASKS.shape, dtype)


def enumerated(logits):
    """Probabilities by the definition, over the legal actions alone, in float64."""
    weight = np.where(MASKS, np.exp(np.asarray(logits, np.float64)), 0.0)
    return weight / weight.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masked_quantities_equal_enumeration_for_every_mask(dtype):
    with jax.enable_x64(dtype == "float64"):
        logits, others = draw_logits(0, dtype), draw_logits(1, dtype)
        masked, other = mask_logits(logits, MASKS), mask_logits(others, MASKS)
        p, q = enumerated(logits), enumerated(others)
        actions = jnp.arange(NUM_ACTIONS, dtype=jnp.int32)
        log_prob = jax.vmap(lambda a: HEAD.log_prob(masked, jnp.full(63, a)), out_axes=1)(actions)
        entropy, divergence = HEAD.entropy(masked), HEAD.kl(masked, other)
    bound = {"float32": 1e-6, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(log_prob[MASKS], np.log(p[MASKS]), atol=bound)
    np.testing.assert_array_equal(np.exp(log_prob)[~MASKS], 0.0)
    safe_p, safe_q = np.where(MASKS, p, 1.0), np.where(MASKS, q, 1.0)
    np.testing.assert_allclose(entropy, -(p * np.log(safe_p)).sum(axis=1), atol=bound)
    expected = (p * (np.log(safe_p) - np.log(safe_q))).sum(axis=1)
    np.testing.assert_allclose(divergence, expected, rtol=bound, atol=bound)  # up to 10
    assert np.isfinite(log_prob).all()


def test_one_legal_action_is_certain():
    single = MASKS.sum(axis=1) == 1
    masked = mask_logits(draw_logits(0, "float32"), MASKS)[single]
    chosen = jnp.argmax(MASKS[single], axis=1).astype(jnp.int32)
    np.testing.assert_array_equal(HEAD.log_prob(masked, chosen), 0.0)
    np.testing.assert_array_equal(HEAD.entropy(masked), 0.0)
    np.testing.assert_array_equal(HEAD.mode(masked), chosen)


@pytest.mark.parametrize("name", ["log_prob", "entropy", "kl"])
def test_masked_logits_get_exactly_no_gradient_and_the_others_a_finite_one(name):
    legal = jnp.argmax(MASKS, axis=1).astype(jnp.int32)

    def total(logits):
        masked = mask_logits(logits, MASKS)
        second = mask_logits(draw_logits(1, "float32"), MASKS)
        values = {
            "log_prob": lambda: HEAD.log_prob(masked, legal),
            "entropy": lambda: HEAD.entropy(masked),
            "kl": lambda: HEAD.kl(masked, second),
        }
        return values[name]().sum()

    gradient = np.asarray(jax.grad(total)(draw_logits(0, "float32")))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~MASKS], 0.0)
    several = MASKS.sum(axis=1) > 1
    assert np.abs(gradient[several]).sum() > 0.0


def test_what_masked_logits_were_does_not_matter():
    logits = draw_logits(0, "float32")
    moved = jnp.where(MASKS, logits, logits + 100.0)
    np.testing.assert_array_equal(mask_logits(logits, MASKS), mask_logits(moved, MASKS))


def test_draws_never_pick_a_masked_action():
    masked = mask_logits(draw_logits(0, "float32"), MASKS)
    noise = HEAD.noise(jax.random.key(0), (1600, 63))  # 100,800 draws
    actions = HEAD.sample(jnp.broadcast_to(masked, (1600, 63, NUM_ACTIONS)), noise)
    legal = jnp.take_along_axis(jnp.asarray(MASKS), actions.T, axis=1)
    assert legal.all()


def test_a_mask_without_a_legal_choice_is_refused_and_traced_stays_finite():
    logits, mask = jnp.zeros((2, 3)), np.array([[True, False, False], [False, False, False]])
    with pytest.raises(ValueError, match=r"at least one legal choice .* none in row \[1\]"):
        mask_logits(logits, mask)
    with pytest.raises(ValueError, match="mask must have 3 entries"):
        mask_logits(logits, jnp.ones((2, 4), bool))
    traced = jax.jit(mask_logits)(logits, mask)
    np.testing.assert_allclose(HEAD_OF_3.entropy(traced)[1], np.log(3), rtol=1e-6)  # float32
