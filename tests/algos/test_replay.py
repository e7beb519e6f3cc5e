"""The replay buffer against a plain record of everything that happened."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxecon.algos import priorities, replay

GAMMA = 0.9
NUM_ENVS, BLOCK, ROWS = 3, 2, 8


def make_steps(start, ends, agents=()):
    """Steps whose every number names its time and environment.

    Args:
      start: time of the first.
      ends: [T, B] letters: "." goes on, "t" terminated, "c" cut off, "b" both.
    """
    ends = np.array([list(row) for row in ends])
    time = start + np.arange(len(ends))[:, None]
    name = 100.0 * time + np.arange(ends.shape[1])[None]
    per_agent = np.broadcast_to(
        name.reshape(*name.shape, *(1 for _ in agents)), (*name.shape, *agents)
    )
    return replay.Steps(
        obs={"x": jnp.asarray(name[..., None], jnp.float32), "mask": jnp.asarray(name % 2 == 0)},
        action=jnp.asarray(per_agent, jnp.int32),
        reward=jnp.asarray(per_agent, jnp.float32),
        terminated=jnp.asarray((ends == "t") | (ends == "b")),
        truncated=jnp.asarray((ends == "c") | (ends == "b")),
        final_obs={
            "x": jnp.asarray(-name[..., None], jnp.float32),
            "mask": jnp.asarray(name % 2 == 1),
        },
    )


def filled(pattern, *, rows=ROWS, agents=(), **settings):
    """A buffer after the blocks of a pattern, and the pattern's steps."""
    steps = make_steps(0, pattern, agents)
    state = replay.init_replay(jax.tree.map(lambda x: x[:1], steps), rows, **settings)
    for start in range(0, len(pattern), BLOCK):
        state = replay.add(state, make_steps(start, pattern[start : start + BLOCK], agents))
    return state, steps


def expected_window(steps, start, env, num_steps, newest):
    """Reward, discount and next observation by walking through the record."""
    total = 0.0
    for lag in range(num_steps):
        time = start + lag
        total += GAMMA**lag * float(steps.reward[time, env])
        if steps.terminated[time, env]:
            return total, 0.0, None
        if steps.truncated[time, env]:
            return total, GAMMA ** (lag + 1), float(steps.final_obs["x"][time, env, 0])
        if time + 1 == newest:
            break
    return total, GAMMA ** (lag + 1), float(steps.obs["x"][time + 1, env, 0])


patterns = st.lists(
    st.text(".....tcb", min_size=NUM_ENVS, max_size=NUM_ENVS), min_size=14, max_size=14
)


@given(pattern=patterns, num_steps=st.sampled_from([1, 3]))
def test_every_window_equals_a_walk_through_the_record(pattern, num_steps):
    state, steps = filled(pattern, num_final=ROWS * NUM_ENVS)
    newest, oldest = len(pattern) - 1, len(pattern) - ROWS
    starts = [(time, env) for time in range(oldest, newest) for env in range(NUM_ENVS)]
    slot = jnp.asarray([(time % ROWS) * NUM_ENVS + env for time, env in starts], jnp.int32)
    read = functools.partial(jax.jit, static_argnums=2)(replay.read_windows)
    window = read(state, slot, num_steps, GAMMA)
    assert window.is_known.all()
    for i, (time, env) in enumerate(starts):
        reward, discount, following = expected_window(steps, time, env, num_steps, newest)
        assert window.obs["x"][i, 0] == 100 * time + env == window.action[i]
        np.testing.assert_allclose(window.reward[i], reward, rtol=1e-6)  # float32
        np.testing.assert_allclose(window.discount[i], discount, rtol=1e-6)
        if following is not None:
            assert window.next_obs["x"][i, 0] == following
            assert window.next_obs["mask"][i] == (following % 2 == (0 if following >= 0 else 1))


def test_draws_are_even_over_all_steps_whose_successor_is_known(key):
    for num_blocks in (1, 3, 7):  # filling, and after the ring has come round
        state, _ = filled(["..."] * (num_blocks * BLOCK))
        newest = num_blocks * BLOCK - 1
        times = range(max(0, newest + 1 - ROWS), newest)
        slots = sorted((time % ROWS) * NUM_ENVS + env for time in times for env in range(NUM_ENVS))
        assert replay.num_starts(state) == len(slots)
        drawn = np.asarray(replay.draw_uniform(jax.random.bits(key, (20_000,)), state))
        found, counts = np.unique(drawn, return_counts=True)
        np.testing.assert_array_equal(found, slots)
        # five standard deviations of a binomial count
        spread = 5 * np.sqrt(20_000 / len(slots))
        np.testing.assert_allclose(counts, 20_000 / len(slots), atol=spread)


def test_lost_final_observations_are_reported_not_made_up():
    state, _ = filled(["ccc"] * 6, num_final=4)
    slot = jnp.arange(5 * NUM_ENVS, dtype=jnp.int32)
    window = replay.read_windows(state, slot, 1, GAMMA)
    # 18 were stored in the order of slots; the last 4 are those of slots 14 to 17
    np.testing.assert_array_equal(window.is_known, slot >= 14)
    assert window.next_obs["x"][14, 0] == -402.0


def test_more_final_observations_in_a_block_than_places_keep_the_latest():
    state, _ = filled(["ccc", "ccc"], num_final=4)
    window = replay.read_windows(state, jnp.arange(6, dtype=jnp.int32), 1, GAMMA)
    np.testing.assert_array_equal(window.is_known, np.arange(6) >= 2)
    np.testing.assert_array_equal(window.next_obs["x"][2:, 0], [-2.0, -100.0, -101.0, -102.0])


def test_rewards_and_actions_of_agents_keep_their_axis():
    state, _ = filled(["..."] * 4, agents=(2,))
    window = replay.read_windows(state, jnp.array([0, 4], jnp.int32), 2, GAMMA)
    np.testing.assert_allclose(window.reward, [[90.0] * 2, [101 + 0.9 * 201] * 2], rtol=1e-6)
    np.testing.assert_array_equal(window.action, [[0, 0], [101, 101]])


def test_the_compiled_loop_copies_nothing_of_the_buffer():
    """Temporary memory of a loop of writes and reads does not grow with the buffer."""

    def temporary_bytes(rows):
        steps = make_steps(0, ["...", "..c"])
        state = replay.init_replay(steps, rows, prioritised=True)

        def body(state, bits):
            state = replay.add(state, steps)
            slot, _ = replay.draw_prioritised(bits, state, 0.5)
            window = replay.read_windows(state, slot, 2, GAMMA)
            state = replay.set_priorities(state, slot, window.reward, jnp.bool_(True))
            return state, window.reward.sum()

        loop = jax.jit(lambda state, bits: jax.lax.scan(body, state, bits), donate_argnums=0)
        bits = jnp.zeros((5, 16), jnp.uint32)
        analysis = loop.lower(state, bits).compile().memory_analysis()
        return analysis.temp_size_in_bytes, analysis.alias_size_in_bytes

    small, large = temporary_bytes(2_000), temporary_bytes(200_000)
    assert large[1] > 50 * small[1]
    assert large[0] < small[0] + 4096  # another level or two of sums


def test_memory_is_what_the_module_says():
    steps = make_steps(0, ["...", "..."])
    state = replay.init_replay(steps, 1_000)
    num_bytes = sum(x.nbytes for x in jax.tree.leaves(state))
    capacity, obs, action = 3_000, 4 + 1, 4
    stated = capacity * (obs + action + 9) + capacity // 8 * (obs + 4)
    assert stated <= num_bytes <= stated + 64  # and three counters


masses = st.lists(st.floats(0.0, 100.0, width=32), min_size=70, max_size=70)


@given(mass=masses, seed=st.integers(0, 1000))
def test_a_tree_of_sums_draws_what_a_cumulative_sum_would(mass, seed):
    mass = np.asarray(mass) + np.eye(1, 70, seed % 70)[0]  # at least one is positive
    slot = np.random.default_rng(seed).permutation(70)
    tree = priorities.init_tree(70)
    for part in (slot[:40], slot[30:]):  # some twice
        tree = priorities.set_mass(tree, jnp.asarray(part), jnp.asarray(mass[part], jnp.float32))
    total = float(priorities.total_mass(tree))
    np.testing.assert_allclose(total, mass.sum(), rtol=1e-5)  # float32 sums
    uniform = (np.arange(200) + 0.5) / 200
    drawn = np.asarray(priorities.draw(tree, jnp.asarray(uniform, jnp.float32)))
    assert (mass[drawn] > 0).all()
    after = np.cumsum(mass)[drawn]
    tolerance = 1e-4 * total  # float32 sums again
    assert (after >= uniform * total - tolerance).all()
    assert (after - mass[drawn] <= uniform * total + tolerance).all()


def test_rounding_never_draws_a_slot_without_mass():
    tree = priorities.set_mass(priorities.init_tree(100), jnp.arange(3), jnp.array([0.1, 0.2, 0.3]))
    drawn = priorities.draw(tree, jnp.array([0.0, 1.0 - 2.0**-24, 1.0, 1.1]))
    np.testing.assert_array_equal(drawn, [0, 2, 2, 2])


def test_new_rows_have_the_highest_priority_and_the_newest_none(key):
    state, _ = filled(["..."] * 4, prioritised=True)
    before = [float(priorities.mass_of(state.priorities.tree, s)) for s in range(ROWS * NUM_ENVS)]
    assert before == [1.0] * 9 + [0.0] * 15
    slot = jnp.array([0, 0, 5], jnp.int32)
    state = replay.set_priorities(state, slot, jnp.array([2.0, 4.0, 0.5]), jnp.bool_(True))
    state = replay.add(state, make_steps(4, ["...", "..."]))
    mass = [float(priorities.mass_of(state.priorities.tree, s)) for s in range(ROWS * NUM_ENVS)]
    assert mass == [4.0, *[1.0] * 4, 0.5, *[1.0] * 3, *[4.0] * 6, *[0.0] * 9]
    same = replay.set_priorities(state, slot, jnp.array([9.0, 9.0, 9.0]), jnp.bool_(False))
    np.testing.assert_array_equal(same.priorities.tree[-1], state.priorities.tree[-1])


def test_importance_weights_undo_the_uneven_draws(key):
    state, _ = filled(["..."] * 4, prioritised=True)
    value = jnp.arange(1.0, 10.0)  # of slots 0 to 8
    state = replay.set_priorities(state, jnp.arange(9, dtype=jnp.int32), value**2, jnp.bool_(True))
    slot, weight = replay.draw_prioritised(jax.random.bits(key, (4096,)), state, 1.0)
    shares = np.bincount(slot, minlength=9) / 4096
    np.testing.assert_allclose(shares, value**2 / (value**2).sum(), atol=2 / 4096)  # strata
    estimate = (weight * value[slot]).sum() / weight.sum()
    np.testing.assert_allclose(estimate, value.mean(), rtol=0.02)  # 14 draws of the rarest slot
    assert weight.max() == 1.0


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (1, {}, "num_rows must be at least 2, got 1"),
        (4, {"num_final": 0}, "num_final must be at least 1, got 0"),
    ],
)
def test_counts_too_small_are_refused(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        replay.init_replay(make_steps(0, ["..."]), rows, **settings)


def test_a_block_that_would_wrap_around_is_refused():
    state = replay.init_replay(make_steps(0, ["..."]), 5)
    with pytest.raises(ValueError, match="must have a length that divides 5 rows, got 2"):
        replay.add(state, make_steps(0, ["...", "..."]))
