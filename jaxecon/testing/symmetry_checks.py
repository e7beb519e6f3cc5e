"""Contract checks of a declared symmetry: its sizes, and that what is seen transforms as said."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.symmetry.spec import declared_symmetry
from jaxecon.testing.probe import ATOL, RTOL, NotApplicable, Probe, expect

NUM_STATES = 3


def check_symmetry_sizes(probe: Probe) -> None:
    """The declared symmetry covers one agent's observation and its action."""
    spec = _spec(probe)
    space = probe.env.action_space(probe.env_params)
    is_discrete = hasattr(space, "n")
    obs = probe.transitions[0].obs
    axis = 0 if getattr(probe.env, "num_agents", None) is None else 1
    num_actions = space.n if is_discrete else int(np.prod(space.shape[axis:]))
    problem = None
    try:
        spec.check_sizes(int(np.prod(obs.shape[axis:])), num_actions, is_discrete)
    except ValueError as error:
        problem = str(error)
    expect(
        problem is None,
        seen=problem,
        expected="blocks that cover the observation, and a representation of the action",
        mend="build the spec in symmetry() from the same counts as the spaces",
    )


def check_symmetric_observation(probe: Probe) -> None:
    """A transformed state is seen as the transformed observation, for every element."""
    env, env_params, spec = probe.env, probe.env_params, _spec(probe)
    if not hasattr(env, "act_on_state"):
        raise NotApplicable("the environment does not say how its states transform")
    states = [turn.state for turn in probe.transitions[1 :: probe.num_steps // 4]][:NUM_STATES]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    agents = () if getattr(env, "num_agents", None) is None else (env.num_agents,)

    def flat(obs):
        return jnp.reshape(obs, (*agents, -1))

    carry_params = getattr(env, "act_on_params", lambda element, params: params)

    def both(element, state):
        obs = env.observe(probe.key, state, None, env_params)
        moved = carry_params(element, env_params)
        seen = env.observe(probe.key, env.act_on_state(element, state), None, moved)
        return flat(seen), spec.act_on_obs(element, flat(obs))

    elements = jnp.arange(spec.group.order, dtype=jnp.int32)
    over_states = jax.vmap(both, in_axes=(None, 0))
    seen, expected = jax.jit(jax.vmap(over_states, in_axes=(0, None)))(elements, states)
    gap = np.abs(np.asarray(seen - expected))
    worst = np.unravel_index(gap.argmax(), gap.shape)
    expect(
        (gap <= 10.0 * (ATOL + RTOL * np.abs(np.asarray(expected)))).all(),
        seen=f"element {worst[0]} moves entry {worst[-1]} of the flat observation to {seen[worst]}",
        expected=f"{expected[worst]}, as symmetry() says",
        mend="compare observe with obs_blocks entry by entry, and act_on_state with observe",
    )


def _spec(probe: Probe):
    spec = declared_symmetry(probe.env)
    if spec is None:
        raise NotApplicable("the environment declares no symmetry")
    return spec
