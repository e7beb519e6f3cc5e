"""Backward induction against the recursion written out in Python."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.solvers.dynamic_programme import Programme, backward_induction

NUM_STATES, NUM_ACTIONS, NUM_SHOCKS = 4, 3, 2


def random_programme(key):
    keys = jax.random.split(key, 4)
    shape = (NUM_STATES, NUM_ACTIONS, NUM_SHOCKS)
    return Programme(
        reward=jax.random.normal(keys[0], shape),
        successor=jax.random.randint(keys[1], shape, 0, NUM_STATES, jnp.int32),
        probability=jax.nn.softmax(jax.random.normal(keys[2], (NUM_STATES, NUM_SHOCKS))),
        legal=(jax.random.uniform(keys[3], shape[:2]) < 0.6).at[:, 1].set(True),
    )


def recursive(tables, state, num_periods):
    """Value and best action by the definition, in float64."""
    if num_periods == 0:
        return 0.0, -1
    options = {}
    for action in np.flatnonzero(tables.legal[state]):
        options[int(action)] = sum(
            float(tables.probability[state, shock])
            * (
                float(tables.reward[state, action, shock])
                + recursive(tables, tables.successor[state, action, shock], num_periods - 1)[0]
            )
            for shock in range(NUM_SHOCKS)
        )
    best = max(options, key=options.get)
    return options[best], best


def test_values_and_actions_equal_the_recursion(key):
    programme = random_programme(key)
    tables = jax.tree.map(np.asarray, programme)
    solve = jax.jit(backward_induction)
    for num_periods in (1, 3):
        solution = solve(programme, num_periods)
        expected = [recursive(tables, state, num_periods) for state in range(NUM_STATES)]
        np.testing.assert_allclose(solution.value, [v for v, _ in expected], rtol=1e-5)  # float32
        np.testing.assert_array_equal(solution.action, [a for _, a in expected])
    assert solution.legal.all()


def test_a_state_without_an_action_says_so(key):
    programme = random_programme(key)
    programme = programme._replace(legal=programme.legal.at[2].set(False))
    solution = jax.jit(backward_induction)(programme, 1)
    np.testing.assert_array_equal(solution.legal, [True, True, False, True])
    assert solution.value[2] == -jnp.inf
