"""Networks over sets: relabelling the elements relabels what is done to them, and nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxecon.algos import PPOConfig, make_ppo
from jaxecon.envs.allocation.env import SequentialAllocation
from jaxecon.envs.games.cournot import Cournot
from jaxecon.envs.trading import PortfolioTrading
from jaxecon.networks import make_actor_critic
from jaxecon.networks.sets import SETS

ORDER = np.array([3, 0, 4, 1, 2])
ACTIONS = ("lambda", "per_agent_lambda", "simplex", "levels")
PER_ELEMENT = ("per_agent_lambda", "simplex")
CASES = [(action, "sets") for action in ACTIONS] + [(action, "shared") for action in PER_ELEMENT]


def network_for(action, num_agents, network="sets"):
    env = SequentialAllocation(num_agents_served=num_agents, num_steps=6, action=action)
    return env, make_actor_critic(env, env.default_params, (8, 8), network=network)


def relabel(obs, order):
    rows = jnp.reshape(obs[..., 5:], (*obs.shape[:-1], -1, 6))[..., order, :]
    return jnp.concatenate([obs[..., :5], jnp.reshape(rows, (*obs.shape[:-1], -1))], axis=-1)


def loud(params, key):
    """Weights whose last layers are no longer near zero, so that differences show."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, noisy)


@pytest.mark.parametrize(("action", "kind"), CASES)
def test_relabelling_agents_relabels_actions(action, kind, key):
    env, network = network_for(action, 5, kind)
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


@pytest.mark.parametrize("action", PER_ELEMENT)
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


@pytest.mark.parametrize("action", PER_ELEMENT)
def test_a_shared_score_sees_one_element_and_the_critic_all(action, key):
    obs = jax.random.uniform(key, (7, 35))
    moved = obs.at[:, 5 + 6 * 2 : 5 + 6 * 3].add(1.0)  # agent 2
    others = np.array([0, 1, 3, 4])

    def scores(kind):
        _, network = network_for(action, 5, kind)
        params = loud(network.init(key), key)
        values = [network.value(params, x) for x in (obs, moved)]
        assert np.abs(values[0] - values[1]).min() > 1e-4
        return [np.asarray(network.policy(params, x)[0]) for x in (obs, moved)]

    before, after = scores("shared")
    np.testing.assert_array_equal(before[:, others], after[:, others])
    assert np.abs(before[:, 2] - after[:, 2]).min() > 1e-4
    before, after = scores("sets")
    assert np.abs(before - after)[:, others].min() > 0.0, "pooling lets all see the change"


def test_the_bias_of_a_score_is_minus_the_logit_of_what_is_kept(key):
    _, network = network_for("simplex", 5, "shared")
    params = loud(network.init(key), key)
    features = jax.random.uniform(key, (7, 35))

    def odds(params):
        """Of each element's share against what is kept back, [7, 5]."""
        shares = network.head.to_action(network.head.mode(network.policy(params, features)))
        return shares[:, 1:] / shares[:, :1]

    before, layers = odds(params), params["actor"]
    assert set(layers) == {"Dense_0", "Dense_1", "Dense_2"}, "one perceptron, and nothing beside it"
    last = layers["Dense_2"] | {"bias": layers["Dense_2"]["bias"] - 0.5}
    after = odds(params | {"actor": layers | {"Dense_2": last}})
    np.testing.assert_allclose(after, before * np.exp(-0.5), rtol=1e-5)  # float32


@pytest.mark.parametrize(("action", "kind"), CASES)
def test_kernels_are_those_that_the_layers_ask_for(action, kind, key):
    _, network = network_for(action, 5, kind)
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


@pytest.mark.parametrize("kind", SETS)
def test_ppo_learns_shares_of_a_portfolio(kind, key):
    env = PortfolioTrading(num_assets=3, lookback=2)
    config = PPOConfig(2, 4, 1, 1, hidden_sizes=(4,), network=kind)
    algorithm = make_ppo(env, config)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(key, env_params):
        state = algorithm.init(key, env_params, algorithm.hparams)
        after, metrics = algorithm.step(key, state, env_params, algorithm.hparams)
        return state.policy.params, after.policy.params, metrics

    before, after, metrics = run(key, env.default_params)
    assert jnp.isfinite(metrics["policy_loss"])
    assert not np.array_equal(*(x["actor"]["Dense_1"]["kernel"] for x in (before, after)))


def test_what_is_no_set_is_refused():
    env = Cournot()
    with pytest.raises(ValueError, match='network must be "mlp" for Cournot-v0'):
        make_actor_critic(env, env.default_params, network="sets")
    with pytest.raises(ValueError, match="Did you mean 'sets'"):
        make_actor_critic(env, env.default_params, network="set")
    env = SequentialAllocation(num_agents_served=3)
    with pytest.raises(ValueError, match="at least one width"):
        make_actor_critic(env, env.default_params, (), network="sets")
    with pytest.raises(ValueError, match=r'must be "sets" .* 5 elements as a whole, got "shared"'):
        network_for("lambda", 5, "shared")
