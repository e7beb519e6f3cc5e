"""The check of declared masks: it passes exact ones, and counts both kinds of error."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import jaxecon
from jaxecon.envs.applicability import check_mask, differs, require_legal_actions
from jaxecon.envs.gridworld import GridWorld, make_params


@dataclasses.dataclass(frozen=True)
class Misdeclared(GridWorld):
    """Says that up always applies, and pick up never."""

    def action_mask(self, state, params):
        return super().action_mask(state, params).at[0].set(True).at[4].set(False)

    def step_env(self, key, state, action, params):
        return GridWorld().step_env(key, state, action, params)


def check(env, params):
    return check_mask(env, params, jax.random.key(0), num_states=16, num_steps=32)


def test_an_exact_mask_agrees():
    report = check(GridWorld(), make_params("key_door_1"))
    assert report.agrees
    assert report.num_pairs == 16 * 32 * 6


def test_both_kinds_of_error_are_counted_by_action():
    report = check(Misdeclared(), make_params("key_door_1"))
    assert not report.agrees
    wide, narrow = report.by_action[0]
    assert wide > 0
    assert narrow == 0
    wide, narrow = report.by_action[4]
    assert wide == 0
    assert narrow > 0
    assert report.by_action[1:4] == ((0, 0),) * 3
    assert report.wrongly_applicable == report.by_action[0][0]
    assert report.wrongly_inapplicable == report.by_action[4][1]


@dataclasses.dataclass(frozen=True)
class Silent(Misdeclared):
    """Declares nothing."""

    def action_mask(self, state, params):
        return None


def test_an_environment_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="must declare action_mask"):
        check(Silent(), make_params("key_door_1"))


@dataclasses.dataclass(frozen=True)
class Stuck(Misdeclared):
    """Allows nothing where the first move up is blocked."""

    def action_mask(self, state, params):
        mask = GridWorld.action_mask(self, state, params)
        return mask & mask[0]


def test_states_without_a_legal_action_are_found_before_training():
    params = make_params("key_door_1")
    report = check(Stuck(), params)
    assert 0 < report.num_stuck < 16 * 32
    assert not report.agrees
    with pytest.raises(ValueError, match="allow at least one action in every state, got none in"):
        require_legal_actions(Stuck(), params, jax.random.key(0))
    for env in (GridWorld(), Silent()):
        require_legal_actions(env, params, jax.random.key(0))


def test_only_one_agents_discrete_actions_have_a_mask_to_check():
    for env_id in ("Newsvendor-v0", "Cournot-v0"):
        with pytest.raises(ValueError, match="one agent and discrete actions, got Box"):
            check(*jaxecon.make(env_id))


def test_distance_is_judged_per_entry_and_exactly_for_whole_numbers():
    view = (jnp.array([1.0, 2.0]), jnp.int32(3))
    assert not differs(view, view)
    assert differs(view, (jnp.array([1.0, 2.5]), jnp.int32(3)))
    assert not differs(view, (jnp.array([1.0, 2.5]), jnp.int32(3)), tolerance=0.5)
    assert differs(view, (view[0], jnp.int32(4)), tolerance=10.0)
