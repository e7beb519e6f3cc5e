"""Behind the Gymnasium interface: its own checker, exact seeds, and SyncVectorEnv's semantics."""

import dataclasses
import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnax.environments import spaces

from jaxecon.envs import base
from jaxecon.envs.registry import ENVIRONMENTS, make
from jaxecon.interop import (
    register_gymnasium,
    to_gymnasium,
    to_gymnasium_space,
    to_gymnasium_vector,
)
from jaxecon.interop.spaces import onto_set

MODES = sorted(AutoresetMode, key=lambda mode: mode.value)
# advice on how to scale spaces, which the economy decides, not errors
ADVICE = ("is probably too (low|high)", "recommend using a symmetric and normalized space")


@struct.dataclass
class WalkParams(base.EnvParams):
    drift: float = 0.1
    bound: float = 1.5
    max_steps_in_episode: int = 7


@struct.dataclass
class WalkState(base.EnvState):
    position: jax.Array  # [N]


@dataclasses.dataclass(frozen=True)
class Walk(base.Environment):
    """N walkers pushed left, right or not at all; ends when one is past the bound."""

    num_agents: int | None = None

    @property
    def default_params(self):
        return WalkParams()

    def reset_env(self, key, params):
        shape = (self.num_agents or 1,)
        state = WalkState(time=jnp.int32(0), position=jax.random.uniform(key, shape))
        return state.position, state

    def step_env(self, key, state, action, params):
        push = jnp.asarray(action - 1, jnp.float32)
        noise = 0.1 * jax.random.normal(key, state.position.shape)
        position = state.position + params.drift * push + noise
        reward = position if self.num_agents else position[0]
        state = WalkState(time=state.time + 1, position=position)
        info = {"largest": position.max(), "parts": {"is_left": position[0] < 0, "all": position}}
        return position, state, reward, position.max() > params.bound, info

    def action_mask(self, state, params):
        return jnp.stack([state.position[0] > 0.0, jnp.bool_(True), jnp.bool_(True)])

    def observation_space(self, params):
        return base.Box(-100.0, 100.0, (self.num_agents or 1,))

    def action_space(self, params):
        return base.Discrete(3)


@struct.dataclass
class ShareState(base.EnvState):
    shares: jax.Array  # [3]


@dataclasses.dataclass(frozen=True)
class Shares(base.Environment):
    """Nested spaces: hands the chosen shares back as a dict."""

    @property
    def default_params(self):
        return base.EnvParams(max_steps_in_episode=5)

    def reset_env(self, key, params):
        state = ShareState(time=jnp.int32(0), shares=jnp.full(3, 1.0 / 3.0))
        return self.read(state), state

    def step_env(self, key, state, action, params):
        state = ShareState(time=state.time + 1, shares=action[0])
        return self.read(state), state, action[0][0], jnp.bool_(False), {}

    def read(self, state):
        return {"shares": state.shares, "period": state.time}

    def observation_space(self, params):
        return spaces.Dict({"shares": base.Box(0.0, 1.0, (3,)), "period": base.Discrete(9)})

    def action_space(self, params):
        return spaces.Tuple([base.Simplex(3), base.Discrete(2)])


def run_checker(env):
    with warnings.catch_warnings():
        for message in ADVICE:
            warnings.filterwarnings("ignore", message=f".*{message}.*")
        check_env(env)


def assert_equal(left, right, where=""):
    """Equality of what two environments return, containers and dtypes included."""
    assert type(left) is type(right), f"{where}: {type(left)} against {type(right)}"
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for name in left:
            assert_equal(left[name], right[name], f"{where}[{name}]")
    elif isinstance(left, tuple) or (isinstance(left, np.ndarray) and left.dtype == object):
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_equal(a, b, f"{where}[{index}]")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, f"{where}: {left.dtype} against {right.dtype}"
        # one row against a batch: two programs, so float32 rounding may differ by a few ulp
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5, err_msg=where)
    else:
        assert left == right, where


@pytest.mark.parametrize("env_id", sorted(ENVIRONMENTS))
def test_every_registry_entry_passes_gymnasiums_checker(env_id):
    run_checker(to_gymnasium(env_id))
    run_checker(to_gymnasium(env_id, render_mode="ansi"))


@pytest.mark.parametrize("env", [Walk(), Walk(num_agents=2), Shares()], ids=str)
def test_environments_of_ones_own_pass_gymnasiums_checker(env):
    run_checker(to_gymnasium(env))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-misc"])
def test_gymnax_environments_pass_gymnasiums_checker(env_id):
    run_checker(to_gymnasium(env_id))


def play(env, seed, num_steps=5):
    outputs = [env.reset(seed=seed)]
    env.action_space.seed(seed)
    for _ in range(num_steps):
        outputs.append(env.step(env.action_space.sample()))
        if outputs[-1][2] or outputs[-1][3]:
            outputs.append(env.reset())
    return outputs


def test_the_same_seed_replays_bit_for_bit_and_another_does_not():
    first, second, other = (play(to_gymnasium(Walk()), seed, 20) for seed in (3, 3, 4))
    for a, b in zip(first, second, strict=True):
        assert a[0].tobytes() == b[0].tobytes(), "the same bits"
        assert_equal(a[1:], b[1:])
    assert first[0][0].tobytes() != other[0][0].tobytes()


def test_reset_without_a_seed_continues_the_stream():
    env = to_gymnasium(Walk())
    seeded, continued = env.reset(seed=5)[0], env.reset()[0]
    assert seeded != continued, "a new episode"
    env.reset(seed=5)
    assert env.reset()[0] == continued, "the same second episode"


def test_the_limit_truncates_and_stepping_on_asks_for_a_reset():
    env = to_gymnasium(Walk(), WalkParams(bound=1e6, max_steps_in_episode=3))
    with pytest.raises(gymnasium.error.ResetNeeded, match="before the first reset"):
        env.step(1)
    env.reset(seed=0)
    flags = [env.step(1)[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]
    with pytest.raises(gymnasium.error.ResetNeeded, match="after the episode ended"):
        env.step(1)


def test_a_natural_ending_terminates():
    env = to_gymnasium(Walk(), WalkParams(bound=-10.0))
    env.reset(seed=0)
    assert env.step(1)[2:4] == (True, False)


def test_values_are_numpy_and_python():
    env = to_gymnasium(Walk(num_agents=2))
    obs, info = env.reset(seed=0)
    assert type(obs) is np.ndarray
    assert obs.flags.writeable
    assert info["action_mask"].dtype == np.int8
    assert env.action_space.sample(mask=info["action_mask"]) in (0, 1, 2)
    obs, reward, terminated, truncated, info = env.step(np.int64(1))
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert type(info["parts"]["is_left"]) is bool
    assert reward == pytest.approx(info["rewards"].mean(), rel=1e-6), "the mean over agents"
    np.testing.assert_array_equal(env.action_masks(), info["action_mask"].astype(bool))


def test_nested_spaces_convert_exactly_and_boxes_reach_the_simplex():
    env = to_gymnasium(Shares())
    assert env.action_space == gymnasium.spaces.Tuple(
        [gymnasium.spaces.Box(0.0, 1.0, (3,)), gymnasium.spaces.Discrete(2)]
    )
    env.reset(seed=0)
    wanted = {(2.0, 1.0, 1.0): (0.5, 0.25, 0.25), (0.0, 0.0, 0.0): (1 / 3,) * 3}
    for given, shares in wanted.items():
        obs, *_ = env.step((np.array(given, np.float32), 1))
        np.testing.assert_allclose(obs["shares"], shares, rtol=1e-6)
        assert type(obs["period"]) is np.int64
        assert obs in env.observation_space


def test_long_vectors_are_shortened_onto_the_ball():
    space = base.Ball(2)
    given = jnp.array([[3.0, 4.0], [0.3, -0.4], [0.0, 0.0]])
    expected = [[0.6, 0.8], [0.3, -0.4], [0.0, 0.0]]
    np.testing.assert_allclose(onto_set(space, given), expected, rtol=1e-6)
    assert to_gymnasium_space(space) == gymnasium.spaces.Box(-1.0, 1.0, (2,))


def test_array_bounds_keep_every_entry():
    box = to_gymnasium_space(base.Box(jnp.array([0.0, -jnp.inf]), jnp.array([1.0, 2.0]), (2,)))
    np.testing.assert_array_equal(box.low, [0.0, -np.inf])
    np.testing.assert_array_equal(box.high, [1.0, 2.0])
    with pytest.raises(TypeError, match="cannot convert"):
        to_gymnasium_space(object())


def test_equal_environments_and_new_economies_share_one_compilation():
    from jaxecon.interop import programs

    env = to_gymnasium(Walk(), WalkParams(drift=0.1))
    env.reset(seed=0), env.step(1)
    before = programs.step_one._cache_size()
    other = to_gymnasium(Walk(), WalkParams(drift=0.3))
    other.reset(seed=1, options={"env_params": WalkParams(drift=0.9)}), other.step(2)
    assert programs.step_one._cache_size() == before


def test_a_vector_step_is_one_program_for_any_number_of_endings():
    from jaxecon.interop import programs

    env = to_gymnasium_vector(Walk(), 5, WalkParams(bound=0.9), autoreset_mode="SameStep")
    env.reset(seed=0)
    env.step(np.ones(5, int))
    before = programs.step_all._cache_size()
    endings = [int((out[2] | out[3]).sum()) for out in (env.step(np.full(5, 2)) for _ in range(9))]
    assert len(set(endings)) > 1
    assert programs.step_all._cache_size() == before


def test_errors_name_what_is_wrong():
    env = to_gymnasium(Walk())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"must have shape \(\)"):
        env.step([1, 1])
    with pytest.raises(ValueError, match="integers from 0 to 2, got 3"):
        env.step(3)
    with pytest.raises(ValueError, match=r"unknown reset options \['sead'\]"):
        env.reset(options={"sead": 1})
    with pytest.raises(ValueError, match="Unknown environment id"):
        to_gymnasium("Walk-v9")
    with pytest.raises(ValueError, match="render_mode must be"):
        to_gymnasium(Walk(), render_mode="human")
    with pytest.raises(TypeError, match="only apply to an environment id"):
        to_gymnasium(Walk(), num_agents=3)
    with pytest.raises(TypeError, match="reset_env and step_env"):
        to_gymnasium(object())
    with pytest.raises(ValueError, match="num_envs must be at least 1"):
        to_gymnasium_vector(Walk(), 0)


def test_ansi_shows_the_state():
    env = to_gymnasium(Walk(), render_mode="ansi")
    env.reset(seed=0)
    assert env.render().splitlines()[0] == "Walk"
    assert "position: [" in env.render()
    assert to_gymnasium(Walk()).render() is None
    vector = to_gymnasium_vector(Walk(), 2, render_mode="ansi")
    vector.reset(seed=0)
    assert len(vector.render()) == 2
    assert "time: 0" in vector.render()[1]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("env", [Walk(), Walk(num_agents=2), Shares()], ids=str)
def test_the_vector_environment_is_sync_vector_env_step_for_step(env, mode):
    ours = to_gymnasium_vector(env, 3, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: to_gymnasium(env)] * 3, autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] == mode
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    assert_equal(ours.reset(seed=11), theirs.reset(seed=11), "reset")
    ours.action_space.seed(1)
    num_endings = 0
    for index in range(25):
        actions = ours.action_space.sample()
        out = ours.step(actions)
        assert_equal(out, theirs.step(actions), f"step {index}")
        assert out[0] in ours.observation_space
        ended = out[2] | out[3]
        num_endings += ended.sum()
        if mode == AutoresetMode.DISABLED and ended.any():
            both = (each.reset(options={"reset_mask": ended.copy()}) for each in (ours, theirs))
            assert_equal(*both, f"reset after step {index}")
    assert num_endings >= 3
    assert_equal(ours.reset(seed=[1, None, 2]), theirs.reset(seed=[1, None, 2]), "reset again")


def test_a_registry_entry_and_a_gymnax_one_match_sync_vector_env():
    for env_id in (sorted(ENVIRONMENTS)[0], "CartPole-v1"):
        ours = to_gymnasium_vector(env_id, 2)
        theirs = SyncVectorEnv([lambda env_id=env_id: to_gymnasium(env_id)] * 2)
        assert_equal(ours.reset(seed=0), theirs.reset(seed=0), env_id)
        ours.action_space.seed(0)
        for _ in range(30):
            actions = ours.action_space.sample()
            assert_equal(ours.step(actions), theirs.step(actions), env_id)


def test_the_final_observation_survives_a_same_step_reset():
    params = WalkParams(bound=1e6, max_steps_in_episode=1)
    env = to_gymnasium_vector(Walk(), 2, params, autoreset_mode="SameStep")
    env.reset(seed=0)
    obs, _, _, truncated, infos = env.step(np.array([2, 2]))
    assert truncated.all()
    assert infos["_final_obs"].all()
    largest = infos["final_info"]["largest"]
    assert [float(last[0]) for last in infos["final_obs"]] == pytest.approx(largest.tolist())
    assert (obs[:, 0] != largest).all(), "obs is the next episode's first"


def test_vector_errors_name_what_is_wrong():
    env = to_gymnasium_vector(Walk(), 2, WalkParams(bound=-10.0), autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded, match="before reset"):
        env.step([1, 1])
    with pytest.raises(gymnasium.error.ResetNeeded, match="first reset must be of all"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"must have shape \(2,\)"):
        env.step([1, 1, 1])
    with pytest.raises(ValueError, match="must be a NumPy array of bools"):
        env.reset(options={"reset_mask": [True, False]})
    with pytest.raises(ValueError, match="seed must have num_envs=2 entries"):
        env.reset(seed=[1])
    env.step([1, 1])
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"sub-environments \[0, 1\] are over"):
        env.step([1, 1])


def test_gymnasiums_make_and_wrappers_take_registered_ids():
    names = register_gymnasium()
    assert register_gymnasium() == names == [f"jaxecon/{name}" for name in sorted(ENVIRONMENTS)]
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make(names[0]))
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[0] in env.observation_space
    vector = gymnasium.make_vec(names[0], num_envs=2, vectorization_mode="vector_entry_point")
    vector = gymnasium.wrappers.vector.RecordEpisodeStatistics(vector)
    vector.reset(seed=0)
    assert vector.step(vector.action_space.sample())[1].shape == (2,)


def test_a_learner_written_for_gymnasium_learns_through_it():
    """Random search over a one-number policy: enough of a trainer to need every part."""
    params = WalkParams(drift=0.4, bound=1e6, max_steps_in_episode=10)
    env = to_gymnasium_vector(Walk(), 8, params, autoreset_mode="SameStep")

    def score(action):
        env.reset(seed=0)
        return sum(env.step(np.full(8, action))[1].mean() for _ in range(10))

    assert max(range(3), key=score) == 2, "pushing right raises the position, the reward"


def test_make_gives_the_same_spaces():
    for env_id in sorted(ENVIRONMENTS):
        env, env_params = make(env_id)
        inner = env.observation_space(env_params)
        outer = to_gymnasium(env_id).observation_space
        assert outer.shape == tuple(inner.shape)
        assert outer.dtype == inner.dtype
