"""Gridworld: masks against brute force on every state, shortest paths, and the tasks' counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.envs import make
from jaxecon.envs.gridworld import MAPS, GridWorld, layouts, make_layout, make_params
from jaxecon.envs.gridworld.env import EnvState

ENV = GridWorld()
# Inapplicable pairs and all pairs over reachable states, counted by hand from the drawings.
COUNTS = {
    "maze": (33, 64),
    "x_island_1": (38, 76),
    "x_island_2": (37, 76),
    "key_door_1": (47, 66),
    "key_door_2": (47, 66),
}


def states_of(nodes):
    rows = np.array(nodes, np.int32)
    zero = jnp.zeros(len(rows), jnp.int32)
    return EnvState(
        time=zero,
        position=jnp.asarray(rows[:, :2]),
        has_key=jnp.asarray(rows[:, 2] == 1),
        door_open=jnp.asarray(rows[:, 3] == 1),
        distance=jnp.ones(len(rows)),
        num_inapplicable=zero,
    )


@jax.jit
def step_all(states, params):
    """Every action in every state: (mask, changed), each [S, A], and the successors."""

    def one(state, action):
        _, after, reward, *_ = ENV.step_env(jax.random.key(0), state, action, params)
        same = jax.tree.map(jnp.array_equal, ENV.effect_view(state), ENV.effect_view(after))
        return ~jnp.stack(same).all(), after, reward

    actions = jnp.arange(6, dtype=jnp.int32)
    every = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    mask = jax.vmap(ENV.action_mask, (0, None))(states, params)
    return mask, *every(states, actions)


def padded(nodes, length=48):
    return nodes + [nodes[0]] * (length - len(nodes))  # one shape for every map


@pytest.mark.parametrize("task", sorted(MAPS))
def test_mask_equals_brute_force_on_every_reachable_state(task):
    layout = layouts.named_layout(task)
    nodes = layouts.reachable_nodes(layout)
    mask, changed, after, _ = step_all(states_of(padded(nodes)), make_params(task))
    count = len(nodes)
    np.testing.assert_array_equal(mask, changed)
    assert mask.any(axis=1).all()
    used = 4 if "key" not in task else 6  # the drawings without a key count the moves alone
    assert (int((~mask[:count, :used]).sum()), count * used) == COUNTS[task]
    assert not mask[:, used:].any()
    for i, node in enumerate(nodes):
        for action in range(6):
            reached = (*after.position[i, action].tolist(), bool(after.has_key[i, action]))
            reached = (*reached, bool(after.door_open[i, action]))
            assert reached == layouts.successor(layout, node, action)


@pytest.mark.parametrize("task", sorted(MAPS))
def test_distances_solve_the_bellman_equation_of_a_masked_shortest_path(task):
    """A no-op earns nothing: values with and without the mask agree, and give the distances."""
    layout, gamma = layouts.named_layout(task), 0.5
    nodes = layouts.reachable_nodes(layout)
    position = {node: i for i, node in enumerate(nodes)}
    follow = np.array(
        [[position.get(layouts.successor(layout, n, a), -1) for a in range(6)] for n in nodes]
    )
    same = follow == np.arange(len(nodes))[:, None]
    values = []
    for is_masked in (False, True):
        value = np.zeros(len(nodes) + 1)
        value[-1] = 1.0 / gamma  # the goal, reached with reward 1
        for _ in range(64):
            reached = gamma * value[follow]
            value[:-1] = np.where(same & is_masked, -1.0, reached).max(axis=1)
        values.append(value[:-1])
    np.testing.assert_array_equal(*values)
    for i, node in enumerate(nodes):
        if node[2:] == (False, False):
            steps = 1.0 + np.log(values[0][i]) / np.log(gamma)
            assert steps == pytest.approx(layout.distance[node[:2]])  # float64 logarithms


@pytest.mark.parametrize("task", ["maze", "key_door_2"])
def test_the_shortest_path_earns_one(task):
    env, params = make("GridWorld-v0", task=task)
    layout = layouts.named_layout(task)
    steps = layouts._steps_to_goal(layout)
    play = jax.jit(env.step_env)
    _, state = env.reset_env(jax.random.key(3), params)
    start, total = int(state.distance), 0.0
    for _ in range(start):
        node = (*state.position.tolist(), bool(state.has_key), bool(state.door_open))
        best = min(range(6), key=lambda a, node=node: steps[layouts.successor(layout, node, a)])
        _, state, reward, terminated, _ = play(jax.random.key(0), state, jnp.int32(best), params)
        total += float(reward)
    assert terminated
    assert total == 1.0
    summary = env.episode_summary(state, params)
    assert (summary["inapplicable"], summary["at_goal"]) == (0.0, 1.0)


def test_starts_are_free_cells_drawn_evenly():
    params = make_params("key_door_1")
    keys = jax.random.split(jax.random.key(0), 2000)
    _, states = jax.vmap(ENV.reset_env, (0, None))(keys, params)
    cells, counts = np.unique(np.asarray(states.position), axis=0, return_counts=True)
    np.testing.assert_array_equal(cells, [[2, 1], [3, 1]])  # the left column without the key
    assert abs(counts[0] - 1000) < 5 * np.sqrt(500)  # five standard errors
    baseline = ENV.baselines(params)["shortest path"]
    assert baseline["length"] == pytest.approx((5 + 6) / 2)  # pick up, open, three moves; one more


def test_one_program_plays_every_task():
    params = jax.tree.map(lambda *x: jnp.stack(x), *(make_params(task) for task in sorted(MAPS)))
    params = params.replace(max_steps_in_episode=jnp.full(len(MAPS), 196))
    obs, states = jax.vmap(ENV.reset_env, (None, 0))(jax.random.key(1), params)
    assert obs.shape == (5, 7, 7, 7)
    mask = jax.vmap(ENV.action_mask)(states, params)
    assert mask.any(axis=1).all()


def test_the_view_of_the_neighbourhood_is_what_is_around_the_agent():
    params = make_params("key_door_1")
    states = states_of([(2, 1, 0, 0), (2, 1, 1, 1)])
    obs = jax.vmap(lambda state: ENV.observe(jax.random.key(0), state, None, params))(states)
    view = jnp.reshape(ENV.applicability_view(obs), (2, 3, 3, 7))
    np.testing.assert_array_equal(view[:, 1, 1, 1], [1, 1])  # the agent in the middle
    np.testing.assert_array_equal(view[:, 0, 1, 3], [1, 0])  # the key above, until taken
    np.testing.assert_array_equal(view[:, 1, 2, 4:6], [[1, 0], [0, 1]])  # the door at the right
    np.testing.assert_array_equal(view[0, :, :, 0], [[1, 0, 1], [1, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(view[:, 1, 1, 6], [0, 1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("......G",), "1 to 5 rows of at most 5"),
        ((".x.G",), "got 'x'"),
        (("....",), "one goal"),
        ((".KG",), "a key with its door or none"),
        (("G",), "a free cell to start from"),
        (("KDG",), "a free cell to start from"),
        ((".#G",), "reachable from every start; from row 1, column 1"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        make_layout(rows)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean 'x_island_[12]' or 'x_island_[12]'"):
        make("GridWorld-v0", task="x_island")
