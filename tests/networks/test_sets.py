"""Networks over sets: relabelling the elements relabels what is done to them, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.algos import PPOConfig, make_ppo
from jaxecon.envs.allocation.env import SequentialAllocation
from jaxecon.envs.games.cournot import Cournot
from jaxecon.networks import make_actor_critic

ORDER = np.array([3, 0, 4, 1, 2])
ACTIONS = ("lambda", "per_agent_lambda", "simplex", "levels")


def network_for(action, num_agents):
    env = SequentialAllocation(num_agents_served=num_agents, num_steps=6, action=action)
    return env, make_actor_critic(env, env.default_params, (8, 8), network="sets")


def relabel(obs, order):
    rows = jnp.reshape(obs[..., 5:], (*obs.shape[:-1], -1, 6))[..., order, :]
    return jnp.concatenate([obs[..., :5], jnp.reshape(rows, (*obs.shape[:-1], -1))], axis=-1)


def loud(params, key):
    """Weights whose last layers are no longer near zero, so that differences show."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, noisy)


@pytest.mark.parametrize("action", ACTIONS)
def test_relabelling_agents_relabels_actions(action, key):
    env, network = network_for(action, 5)
    params = loud(network.init(key), key)
    obs = jax.random.uniform(key, (7, 35))
    seen = [network.features(x) for x in (obs, relabel(obs, ORDER))]
    np.testing.assert_allclose(*(network.value(params, x) for x in seen), atol=1e-5)
    modes = [network.head.mode(network.policy(params, x)) for x in seen]
    actions = [np.asarray(network.head.to_action(mode)) for mode in modes]
    follows = {"per_agent_lambda": ORDER, "simplex": np.array([0, *(ORDER + 1)])}
    if action in follows:
        assert np.ptp(actions[0], axis=-1).max() > 0.05, "agents must differ for this to be a test"
        actions[0] = actions[0][:, follows[action]]
    np.testing.assert_allclose(*actions, atol=1e-5)
    assert all(env.action_space(env.default_params).contains(row) for row in actions[1])


@pytest.mark.parametrize("action", ["per_agent_lambda", "simplex"])
def test_relabelling_noise_relabels_draws_at_equal_density(action, key):
    _, network = network_for(action, 5)
    params = loud(network.init(key), key)
    obs, noise = jax.random.uniform(key, (7, 35)), network.head.noise(key, (7,))
    outputs = [network.policy(params, x) for x in (obs, relabel(obs, ORDER))]
    drawn = [network.head.sample(outputs[0], noise)[:, ORDER]]
    drawn.append(network.head.sample(outputs[1], noise[:, ORDER]))
    np.testing.assert_allclose(*drawn, atol=1e-5)
    densities = [
        network.head.log_prob(outputs[0], network.head.sample(outputs[0], noise)),
        network.head.log_prob(outputs[1], drawn[1]),
    ]
    np.testing.assert_allclose(*densities, atol=1e-4)  # sums of 10 logs in float32


@pytest.mark.parametrize("action", ACTIONS)
def test_weights_do_not_depend_on_the_number_of_agents(action, key):
    few, many = network_for(action, 5)[1], network_for(action, 20)[1]
    params = few.init(key)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, many.init(key))
    if action != "simplex":  # copies of one set are the same set, for averages
        rows = jax.random.uniform(key, (5, 6))
        obs = jnp.concatenate([jnp.ones(5), jnp.ravel(rows)])[None]
        copies = jnp.concatenate([jnp.ones(5), jnp.ravel(jnp.tile(rows, (4, 1)))])[None]
        values = [net.value(params, net.features(x)) for net, x in ((few, obs), (many, copies))]
        np.testing.assert_allclose(*values, rtol=1e-5)


@pytest.mark.parametrize("action", ACTIONS)
def test_kernels_are_those_that_the_layers_ask_for(action, key):
    _, network = network_for(action, 5)
    for body, params in ((network.actor, "actor"), (network.critic, "critic")):
        asked = jax.eval_shape(body.init, key, jnp.zeros((1, 35)))["params"]
        assert jax.tree.map(jnp.shape, asked) == jax.tree.map(jnp.shape, network.init(key)[params])


def test_ppo_trains_over_sets(key):
    env = SequentialAllocation(num_agents_served=3, num_steps=4, action="per_agent_lambda")
    config = PPOConfig(
        num_envs=4, rollout_length=4, num_minibatches=2, hidden_sizes=(4,), network="sets"
    )
    algorithm = make_ppo(env, config)
    params, hparams = env.default_params, algorithm.hparams
    state = jax.jit(algorithm.init)(key, params, hparams)
    after, metrics = jax.jit(algorithm.step)(key, state, params, hparams)
    assert jnp.isfinite(metrics["policy_loss"])
    assert after.policy.params["log_std"].shape == (1,)


def test_what_is_no_set_is_refused():
    env = Cournot()
    with pytest.raises(ValueError, match='network must be "mlp" for Cournot-v0'):
        make_actor_critic(env, env.default_params, network="sets")
    with pytest.raises(ValueError, match="Did you mean 'sets'"):
        make_actor_critic(env, env.default_params, network="set")
    env = SequentialAllocation(num_agents_served=3)
    with pytest.raises(ValueError, match="at least one width"):
        make_actor_critic(env, env.default_params, (), network="sets")
