"""Algorithms learn on the environment: on sampled economies, and over a grid of discounts."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.algos import DQNConfig, PPOConfig, make_dqn, make_ppo, train
from jaxecon.envs.allocation.draws import draw_episodes
from jaxecon.envs.allocation.settings import make_sequential_allocation
from jaxecon.envs.allocation.simulate import replay_policy

SMALL = {"num_agents": 3, "num_steps": 4}


def learn(make, config, env, params, key, iterations=2):
    algorithm = make(env, config)
    run = jax.jit(
        lambda key: train(algorithm, key, params, algorithm.hparams, num_iterations=iterations)
    )
    state, metrics = run(key)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(algorithm.policy(state)))
    return algorithm, algorithm.policy(state), metrics


def test_ppo_over_sets_learns_on_a_family_and_plays_any_number_of_agents(key):
    env, params = make_sequential_allocation(
        "family", **SMALL, action="per_agent_lambda", reward="regret"
    )
    config = PPOConfig(
        num_envs=4, rollout_length=4, num_minibatches=2, num_eval_episodes=4, hidden_sizes=(4,),
        network="sets",
    )  # fmt: skip
    _, policy, metrics = learn(make_ppo, config, env, params, key)
    assert metrics["evaluation/return"].max() <= 0.0
    many, economy = make_sequential_allocation(
        "sparse_symmetric", num_agents=7, num_steps=4, action="per_agent_lambda"
    )
    act = jax.jit(make_ppo(many, config).act)
    obs, _ = jax.jit(jax.vmap(many.reset_env, (0, None)))(jax.random.split(key, 5), economy)
    weights = type(policy)(policy.params, None)  # nothing but weights: moments have the old shape
    assert act(key, weights, obs, None, economy).shape == (5, 7)


def test_dqn_chooses_among_the_levels(key):
    env, params = make_sequential_allocation(**SMALL, action="levels")
    config = DQNConfig(
        num_envs=4, rollout_length=4, buffer_size=64, batch_size=8, num_eval_episodes=4,
        hidden_sizes=(4,),
    )  # fmt: skip
    algorithm, policy, _ = learn(make_dqn, config, env, params, key)
    episodes = jax.jit(draw_episodes, static_argnums=(1, 3))(key, env, params, 6)
    act = lambda obs: algorithm.act(key, policy, obs, None, params)
    measures = replay_policy(env, params, act, episodes)
    assert (measures["log_nash_gap"] <= 1e-5).all()
    assert np.isfinite(measures["return"]).all()


def test_a_family_ranges_from_sparse_to_dense():
    env, params = make_sequential_allocation("family")
    episodes = jax.jit(draw_episodes, static_argnums=(1, 3))(jax.random.key(2), env, params, 4000)
    rate = 0.8 * np.asarray(episodes.thinning)
    assert rate.min() > 0.025 - 1e-6, "an agent asks at least once in 40 steps on average"
    assert rate.max() <= 0.8
    common = np.log(rate.mean(0))
    assert np.percentile(common, 10) < np.log(0.06), "some episodes are sparse"
    assert np.percentile(common, 90) > np.log(0.4), "and some are dense"
    expected = (40 * rate * np.asarray(episodes.scale)).sum(0)
    scarcity = np.asarray(episodes.budget) / expected
    assert 0.35 - 1e-5 <= scarcity.min() < 0.37  # 0.5 less 30%
    assert 0.63 < scarcity.max() <= 0.65 + 1e-5
