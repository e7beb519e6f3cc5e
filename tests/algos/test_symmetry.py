"""PPO and DQN with equivariant, relaxed and residual networks on a task with a known symmetry."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxecon.algos import (
    DQNConfig,
    PPOConfig,
    SACConfig,
    make_dqn,
    make_ppo,
    make_sac,
    optimizers,
)
from jaxecon.algos.ppo import PPOHyperparams
from jaxecon.algos.symmetry import SymmetryHyperparams, penalised, spread_metrics
from jaxecon.envs import base
from jaxecon.envs.allocation.env import SequentialAllocation
from jaxecon.envs.games.cournot import Cournot
from jaxecon.networks import make_actor_critic
from jaxecon.networks.continuous import make_actor_twin_critic
from jaxecon.networks.counting import count_parameters, matched_sizes
from jaxecon.networks.value import make_q_network
from jaxecon.symmetry import (
    SymmetrySpec,
    cyclic,
    dihedral,
    direct_sum,
    equivariance_error,
    permutation,
    relaxed_weights,
    standard,
    trivial,
)

D4 = dihedral(4)
KINDS = ("exact", "relaxed", "rpp")


@struct.dataclass
class EnvState(base.EnvState):
    needle: jax.Array  # [2]


@dataclasses.dataclass(frozen=True)
class Compass(base.Environment):
    """One step: point where the needle does, with a vector or one of four directions."""

    discrete: bool = False
    action_space_override: object = None

    default_params = base.EnvParams(max_steps_in_episode=1)
    name = "Compass"

    def symmetry(self):
        plane = standard(D4)
        action = permutation(D4) if self.discrete else direct_sum(plane, trivial(D4))
        return SymmetrySpec(D4, ((slice(0, 2), 1, plane), (slice(2, 3), 1, trivial(D4))), action)

    def observation_space(self, params):
        return base.Box(-1.0, 1.0, (3,))

    def action_space(self, params):
        if self.action_space_override is not None:
            return self.action_space_override
        return base.Discrete(4) if self.discrete else base.Box(-1.0, 1.0, (3,))

    def reset_env(self, key, params):
        angle = jax.random.uniform(key, (), maxval=2.0 * jnp.pi)
        needle = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        state = EnvState(time=jnp.int32(0), needle=needle)
        return self.observe(key, state, None, params), state

    def step_env(self, key, state, action, params):
        directions = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        pointed = directions[action] if self.discrete else action[:2]
        reward = jnp.sum(pointed * state.needle)
        _, state = self.reset_env(key, params)
        return self.observe(key, state, action, params), state, reward, jnp.bool_(True), {}

    def observe(self, key, state, action, params):
        return jnp.concatenate([state.needle, jnp.ones(1)])


def weights_of(network):
    """Weights of size one, so that differences show; relaxed ones equal."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        is_relaxed = path[-1].key == "relax_w"
        drawn = np.ones(leaf.shape) if is_relaxed else 0.5 * random.normal(size=leaf.shape)
        return jnp.asarray(drawn, jnp.float32)

    return jax.tree.map_with_path(draw, jax.eval_shape(network.init, jax.random.key(0)))


OBS = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def policy_errors(env, network, params):
    """Equivariance errors of mean action or logits, and of the value."""
    spec = env.symmetry()
    outputs = lambda obs: network.policy(params, obs)
    mean = outputs if env.discrete else lambda obs: outputs(obs)[0]
    value, stays = lambda obs: network.value(params, obs), lambda _, y: y
    return (
        equivariance_error(mean, OBS, spec.act_on_obs, spec.act_on_action, 8),
        equivariance_error(value, OBS, spec.act_on_obs, stays, 8),
    )


CASES = [(kind, False) for kind in KINDS] + [("relaxed", True)]


@pytest.mark.parametrize(("kind", "discrete"), CASES)
def test_policies_move_with_the_observation_and_values_stay(kind, discrete):
    env = Compass(discrete)
    network = make_actor_critic(env, env.default_params, (4, 3), network=kind, num_banks=2)
    params = weights_of(network)
    for error in policy_errors(env, network, params):
        assert (error.max > 1e-2) if kind == "rpp" else (error.max < 1e-5)
    if not discrete:
        assert params["log_std"].shape == (2,), "one for the plane, one for the rest"
        log_std = network.policy(params, jnp.ones((1, 3)))[1]
        assert log_std[0] == log_std[1] != log_std[2]


@pytest.mark.parametrize("kind", ["exact", "rpp"])
def test_action_values_are_permuted_with_the_actions(kind):
    env = Compass(discrete=True)
    network = make_q_network(env, env.default_params, (4, 3), network=kind)
    params, spec = weights_of(network), env.symmetry()

    @jax.jit
    def error_of(params):
        values = lambda obs: network.values(params, obs)
        return equivariance_error(values, OBS, spec.act_on_obs, spec.act_on_action, 8)

    assert (error_of(params).max < 1e-5) == (kind != "rpp")


def one_iteration(algorithm, env):
    """(key, hparams) -> state and metrics after one iteration."""

    @jax.jit
    def run(key, hparams):
        state = algorithm.init(key, env.default_params, hparams)
        return algorithm.step(key, state, env.default_params, hparams)

    return run


def test_ppo_leaves_the_symmetry_at_the_rate_of_the_relaxed_weights(key):
    env = Compass()
    config = PPOConfig(16, 16, 4, 2, hidden_sizes=(4, 4), network="relaxed")
    algorithm = make_ppo(env, config)
    hparams = algorithm.hparams.replace(learning_rate=1e-2, gamma=0.0)
    run = one_iteration(algorithm, env)
    _, metrics = run(key, hparams)
    assert all(jnp.isfinite(x).all() for name, x in metrics.items() if name != "episodes")
    assert metrics["relax_spread"] > 1e-3, "samples are no whole orbits"
    assert metrics["relax_spread_actor_Lift_0"] > 0
    state, metrics = run(key, hparams.replace(relax_rate=0.0))
    assert metrics["relax_spread"] == 0.0
    towers, layers = ("actor", "critic"), ("Lift", "GroupConv", "VectorHead")
    layers = {f"{tower}/{layer}_0" for tower in towers for layer in layers}
    assert set(relaxed_weights(state.policy.params)) == layers
    network = make_actor_critic(env, env.default_params, (4, 4), network="relaxed")
    for error in policy_errors(env, network, state.policy.params):
        assert error.max < 1e-5, "training of the other weights must not leave the symmetry"


def test_dqn_trains_beside_a_free_path(key):
    env = Compass(discrete=True)
    config = DQNConfig(8, 16, hidden_sizes=(4,), network="rpp", batch_size=16, buffer_size=256)
    algorithm = make_dqn(env, config)
    state, metrics = one_iteration(algorithm, env)(
        key, algorithm.hparams.replace(learning_starts=16.0)
    )
    assert jnp.isfinite(metrics["loss"])
    assert set(state.learner.params) == {"exact", "free"}


@pytest.mark.parametrize("kind", ["relaxed", "rpp"])
def test_soft_actors_follow_and_twin_critics_do_not_see_the_group(kind):
    env = Compass()
    network = make_actor_twin_critic(env, env.default_params, (4, 3), network=kind)
    params, spec = weights_of(network), env.symmetry()
    stays, action = lambda _, y: y, OBS[:, ::-1]
    joint = jnp.concatenate([OBS, action], axis=1)

    def act_on_both(element, x):
        obs, action = x[:, :3], x[:, 3:]
        moved = spec.act_on_obs(element, obs), spec.act_on_action(element, action)
        return jnp.concatenate(moved, axis=1)

    @jax.jit
    def errors(params):
        actor = lambda part: lambda obs: network.actor(params["actor"], obs)[part]
        critics = lambda x: network.critics(params["critics"], x[:, :3], x[:, 3:]).T
        return (
            equivariance_error(actor(0), OBS, spec.act_on_obs, spec.act_on_action, 8),
            equivariance_error(actor(1), OBS, spec.act_on_obs, stays, 8),
            equivariance_error(critics, joint, act_on_both, stays, 8),
        )

    for error in errors(params):
        assert (error.max > 1e-2) if kind == "rpp" else (error.max < 1e-5)


def test_sac_trains_with_relaxed_weights(key):
    env = Compass()
    config = SACConfig(
        8, 4, num_updates=1, hidden_sizes=(4,), network="relaxed", batch_size=8, buffer_size=64
    )
    algorithm = make_sac(env, config)
    hparams = algorithm.hparams.replace(learning_starts=8.0)
    _, metrics = one_iteration(algorithm, env)(key, hparams)
    assert jnp.isfinite(metrics["critic_loss"])
    assert metrics["relax_spread_critics_Lift_0"] > 0


def test_relaxed_weights_take_longer_steps_and_nothing_else_changes():
    params = {"layer": {"relax_w": jnp.ones((1, 3)), "kernel": jnp.ones(4)}}
    gradient = jax.tree.map(
        lambda x: jnp.cos(x) + jnp.arange(float(x.size)).reshape(x.shape), params
    )
    plain, scaled = optimizers.flat_adam(0.1), optimizers.flat_adam(0.1, multiples={"relax_w": 5.0})
    assert jax.tree.structure(plain.init(params)) == jax.tree.structure(scaled.init(params))
    (one, _), (five, _) = (
        optimizers.descend(optimizer, gradient, optimizer.init(params), params)
        for optimizer in (plain, scaled)
    )
    np.testing.assert_array_equal(one["layer"]["kernel"], five["layer"]["kernel"])
    steps = [moved["layer"]["relax_w"] - 1.0 for moved in (one, five)]
    np.testing.assert_allclose(steps[1], 5.0 * steps[0], rtol=1e-5)


def test_penalties_concern_their_own_weights_alone():
    hparams = SymmetryHyperparams(relax_penalty=2.0, exact_decay=0.5, free_decay=0.25)
    plain = {"actor": {"Dense_0": {"kernel": jnp.ones(3)}}}
    loss = jnp.float32(1.0)
    assert penalised(loss, plain, hparams) is loss
    relaxed = {"actor": {"Lift_0": {"relax_w": jnp.array([[1.0, 1.1]])}}}
    np.testing.assert_allclose(penalised(loss, relaxed, hparams), 1.0 + 2.0 * 2 * 0.1, rtol=0.01)
    paths = {"actor": {"exact": {"kernel": jnp.ones(3)}, "free": {"kernel": 2.0 * jnp.ones(3)}}}
    np.testing.assert_allclose(penalised(loss, paths, hparams), 1.0 + 0.5 * 3 + 0.25 * 12)
    assert spread_metrics(plain) == {}
    assert PPOHyperparams().relax_rate == 5.0


def test_relaxed_sets_start_as_sets_and_may_tell_elements_apart():
    env = SequentialAllocation(num_agents_served=5, num_steps=6, action="per_agent_lambda")
    network = make_actor_critic(env, env.default_params, (8, 8), network="relaxed_sets")
    params, order = weights_of(network), np.array([3, 0, 4, 1, 2])
    obs = jnp.asarray(np.random.default_rng(0).uniform(size=(7, 35)), jnp.float32)
    rows = jnp.reshape(obs[:, 5:], (7, 5, 6))[:, order]
    moved = jnp.concatenate([obs[:, :5], jnp.reshape(rows, (7, -1))], axis=1)

    def gap(params):
        ours, theirs = (network.policy(params, x)[0] for x in (obs, moved))
        return jnp.abs(ours[:, order] - theirs).max()

    assert gap(params) < 1e-5
    gains = relaxed_weights(params)
    assert {x.shape for x in gains.values()} == {(1, 5)}
    first = params["actor"]["Gain_0"]["relax_w"].at[0, 2].add(0.1)
    params["actor"]["Gain_0"]["relax_w"] = first
    assert gap(params) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_match_a_perceptron_do_so_within_a_tenth(kind):
    env = Compass()
    make = lambda sizes, kind=kind: make_actor_critic(env, env.default_params, sizes, network=kind)
    target = count_parameters(make((64, 64), "mlp"))
    assert target == 2 * (3 * 64 + 64 + 64 * 64 + 64) + 64 * 3 + 3 + 64 + 1 + 3
    sizes = matched_sizes(make, target)
    assert abs(count_parameters(make(sizes)) / target - 1.0) <= 0.1
    with pytest.raises(ValueError, match="within 10% of what some size gives, got 10"):
        matched_sizes(make, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PPOConfig(network="relaxd"), "Did you mean 'relaxed'"),
        (lambda: PPOConfig(network="exact", normalise_observations=True), "breaks the symmetry"),
        (lambda: DQNConfig(network="rpp", normalise_observations=True), "breaks the symmetry"),
        (lambda: PPOConfig(network="sets", normalise_observations=True), "elements of the set"),
        (lambda: SACConfig(network="exact", normalise_observations=True), "breaks the symmetry"),
        (lambda: DQNConfig(network="sets"), "Unknown network 'sets'"),
        (lambda: PPOConfig(num_banks=0), "num_banks must be at least 1, got 0"),
    ],
)
def test_settings_that_do_not_go_together(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("env", "sizes", "message"),
    [
        (Cournot(), (4,), 'must be "mlp" for Cournot-v0, got "exact".* declares its symmetry'),
        (Compass(), (), "at least one width"),
        (Compass(False, base.Box(-1.0, 1.0, (2,))), (4,), "must have dimension 2, as the action"),
        (Compass(False, base.Box(0.0, 1.0, (3,))), (4,), "bounds that the group leaves alone"),
        (Compass(False, base.Simplex(3)), (4,), 'has it, for the shares of Compass'),
        (Compass(False, base.Discrete(3)), (4,), "must permute the actions of a Discrete space"),
    ],
    ids=range(6),
)  # fmt: skip
def test_environments_that_do_not_fit(env, sizes, message):
    with pytest.raises(ValueError, match=message):
        make_actor_critic(env, env.default_params, sizes, network="exact")


def test_boxes_cannot_follow_rotations_that_mix_their_coordinates():
    @dataclasses.dataclass(frozen=True)
    class Eighth(Compass):
        def symmetry(self):
            plane = standard(cyclic(8))
            blocks = ((slice(0, 2), 1, plane), (slice(2, 3), 1, trivial(plane.group)))
            return SymmetrySpec(plane.group, blocks, plane)

    square = Eighth(False, base.Box(-1.0, 1.0, (2,)))
    with pytest.raises(ValueError, match="declare the action space a Ball"):
        make_actor_critic(square, square.default_params, (4,), network="relaxed")
    for space in (base.Ball(2), base.Box(-jnp.inf, jnp.inf, (2,))):
        env = Eighth(False, space)
        network = make_actor_critic(env, env.default_params, (4,), network="relaxed")
        assert network.head.num_outputs == 2
    env = Compass(discrete=True)
    with pytest.raises(ValueError, match="dueling must be False"):
        make_q_network(env, env.default_params, dueling=True, network="exact")
