"""Handing out one budget, step by step, among agents whose demands come to light on the way."""

import dataclasses
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.econ.portfolio import normalise_weights
from jaxecon.envs import base
from jaxecon.envs.allocation import demand as laws
from jaxecon.envs.allocation import features
from jaxecon.envs.allocation.draws import draw_blocks, draw_traits, episode_budget
from jaxecon.envs.allocation.economy import EnvParams, EnvState, as_float
from jaxecon.envs.allocation.measures import episode_measures
from jaxecon.envs.allocation.planning import SPLITS, Split, discounted_demand, present_share
from jaxecon.envs.allocation.registry import BASELINES, RULES
from jaxecon.envs.allocation.simulate import (
    hindsight_welfare,
    measure_blocks,
    most_to_give,
    welfare_floor,
    within_budget,
)
from jaxecon.suggest import unknown_name
from jaxecon.types import Array, Key

Action = Literal["lambda", "per_agent_lambda", "simplex", "levels"]
FillRule = Literal["per_step", "arrival_carry"]
Reward = Literal["welfare", "regret"]

LEVELS = (-1.0, -0.5, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)  # discounts of the discrete actions
BASELINE_EPISODES = 512


@dataclasses.dataclass(frozen=True)
class SequentialAllocation(base.Environment):
    """Divide a budget among N agents who ask at random times, so that their totals are fair.

    In step t agents ask for x_i, and receive 0 <= a_i <= x_i with Σ a_i <= b. What is not given is
    lost to them under fill rule "per_step"; under "arrival_carry" an agent who asks again may also
    receive what it went without.

    Action: "lambda" adds to the discount λ of SAFFE-D, [1], and "per_agent_lambda" to that of each
    agent, [N]: λ is `discount_centre`, 0 by default, plus the action clipped to ±`discount_reach`.
    λ = 0 is SAFFE; with a tuned centre, action 0 is the tuned rule. "levels" is the number of one
    of 9 discounts, `LEVELS`. "simplex" divides the budget left, [N + 1] with the part to keep
    first; parts need not be exact (see `econ.portfolio.normalise_weights`), and what exceeds an
    agent's request is kept too.

    Reward: Σ w_i (log(ε + P_i + a_i) - log(ε + P_i)) with totals P before the step and ε = 0.001 of
    an agent's mean demand in the episode. The return is log Nash welfare up to a constant. "regret"
    takes off how much the same welfare of the offline optimum for all requests so far has risen by
    those of this step. No action can change that, so the best policies stay the best, but the luck
    of many or few requests cancels: the return is welfare less its optimum in hindsight, at most 0.

    Observation: [5 + 6 N], flat. First b/B, t/T, Σ x/B, Σ F/B, Σ S/B; then for each agent x, P, C,
    F, S over an agent's mean demand in the episode and w. `split_observation` gives the table
    [N, 6] back, the order of whose rows does not matter to policies with the network "sets". F and
    S are mean and standard deviation of demand still to come, C the demand so far.

    Episodes terminate after step T, when nobody asks any more, or are cut off at an earlier time
    limit; in either case together.

    Attributes:
      num_agents_served: N; the player is the one who divides.
      num_steps: T, rows of the demand tables.
      law: of request sizes, see `demand.draw_requests`.
      fill_rule: "per_step" or "arrival_carry".
      action: "lambda", "per_agent_lambda", "simplex" or "levels".
      split: how "lambda" actions divide an agent's share between now and later, "front" or
        "proportional", see `planning.present_share`.
      reward: "welfare" or "regret"; policies learn from the second with far fewer episodes.

    Source: Hassanzadeh, Kreačić, Zeng, Xiao and Ganesh (2023), arXiv 2301.03758. Reward, demand
    laws and actions are our own.
    """

    num_agents_served: int = 20
    num_steps: int = 40
    law: laws.Law = "gaussian"
    fill_rule: FillRule = "per_step"
    action: Action = "lambda"
    split: Split = "proportional"
    reward: Reward = "welfare"

    ends_together = True

    def __post_init__(self):
        base.require_count("num_agents_served", self.num_agents_served)
        base.require_count("num_steps", self.num_steps)
        choices = {
            "law": laws.LAWS,
            "fill_rule": get_args(FillRule),
            "action": get_args(Action),
            "split": SPLITS,
            "reward": get_args(Reward),
        }
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise ValueError(unknown_name(name, getattr(self, name), valid))

    @property
    def name(self) -> str:
        """The registry's id."""
        return "SequentialAllocation-v0"

    @property
    def default_params(self) -> EnvParams:
        """Equal agents who ask twice per episode on average, and half of what they will ask for."""
        shape = (self.num_steps, self.num_agents_served)
        return EnvParams(
            arrival_probability=jnp.full(shape, min(2.0 / self.num_steps, 1.0), float),
            mean_size=jnp.ones(shape, float),
            size_deviation=jnp.full(shape, 0.3, float),
            weight=jnp.ones(self.num_agents_served, float),
            budget=float(self.num_agents_served * min(1.0, 0.5 * self.num_steps)),
            max_steps_in_episode=self.num_steps,
        )

    def action_space(self, params: EnvParams) -> base.Box | base.Simplex | base.Discrete:
        """Changes of discounts, parts of the budget, or the number of a discount."""
        if self.action == "levels":
            return base.Discrete(len(LEVELS))
        if self.action == "simplex":
            return base.Simplex(self.num_agents_served + 1)
        shape = (self.num_agents_served,) if self.action == "per_agent_lambda" else (1,)
        reach = as_float(params.discount_reach)
        return base.Box(-reach, reach, shape, jnp.result_type(float))

    def observation_space(self, params: EnvParams) -> base.Box:
        """Globals and agents' features, [5 + 6 N], at least 0."""
        size = features.NUM_GLOBALS + features.NUM_FEATURES * self.num_agents_served
        return base.Box(0.0, jnp.inf, (size,), jnp.result_type(float))

    def reset_env(self, key: Key, params: EnvParams) -> tuple[Array, EnvState]:
        """The first requests, with the whole budget left."""
        key_traits, key_intensity, key_requests = jax.random.split(key, 3)
        thinning, scale, factor = draw_traits(key_traits, params, (self.num_agents_served,))
        budget = episode_budget(params, thinning, scale, factor)
        log_intensity = laws.stationary_deviation(params) * jax.random.normal(
            key_intensity, (), float
        )
        state = self.start(budget, thinning, scale).replace(log_intensity=log_intensity)
        state = self.ask(state, self._draw(key_requests, state, params))
        return self.observe(key, state, None, params), state

    def start(self, budget: Array, thinning: Array, scale: Array) -> EnvState:
        """State before the first requests, of an episode with these traits, [N] each."""
        nothing = jnp.zeros_like(scale)
        return EnvState(
            time=jnp.int32(0),
            budget=budget,
            total_budget=budget,
            given=nothing,
            asked=nothing,
            request=nothing,
            thinning=thinning,
            scale=scale,
            log_intensity=jnp.zeros_like(budget),
        )

    def step_env(
        self, key: Key, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[str, Array]]:
        """Give, then see the next requests; info has the sums `given` and `requested`, units."""
        key_intensity, key_requests = jax.random.split(key)
        allocation = self.allocate(state, action, params)
        info = {"given": jnp.sum(allocation), "requested": jnp.sum(state.request)}
        state, reward = self.give(state, allocation, params)
        normal = jax.random.normal(key_intensity, (), float)
        log_intensity = laws.step_of_log_intensity(state.log_intensity, normal, params)
        state = state.replace(log_intensity=log_intensity)
        state = self.ask(state, self._draw(key_requests, state, params))
        obs, is_over = self.observe(key, state, action, params), state.time >= self.num_steps
        return obs, state, reward, is_over, info

    def allocate(self, state: EnvState, action: Array, params: EnvParams) -> Array:
        """What an action gives each agent, [N] units, feasible whatever the action."""
        most = most_to_give(self.fill_rule, state.request, state.asked, state.given)
        if self.action == "simplex":
            chex.assert_shape(action, (self.num_agents_served + 1,))
            parts = normalise_weights(as_float(action))[1:]
            return within_budget(parts * state.budget, most, state.budget)
        future = self.outlook(state, params)
        weight = as_float(params.weight)
        reckoned = discounted_demand(future.mean, future.deviation, self._discount(action, params))
        amount = present_share(state.given, most, reckoned, weight, state.budget, self.split)
        return within_budget(amount, most, state.budget)

    def give(self, state: EnvState, allocation: Array, params: EnvParams) -> tuple[EnvState, Array]:
        """State after handing out [N] units, with nobody asking yet, and the reward."""
        weight = as_float(params.weight)
        floor = welfare_floor(self.law, params, state.thinning * state.scale)
        reward = jnp.sum(weight * jnp.log1p(allocation / (floor + state.given)))
        if self.reward == "regret":
            asked = jnp.stack([state.asked, state.asked - state.request], axis=1)  # [N, 2]
            weights = jnp.broadcast_to(weight[:, None], asked.shape)
            budget, floor = (jnp.broadcast_to(x, (2,)) for x in (state.total_budget, floor))
            best = hindsight_welfare(asked, weights, budget, floor)
            reward = reward - (best[0] - best[1])
        state = state.replace(
            time=state.time + 1,
            budget=jnp.maximum(state.budget - jnp.sum(allocation), 0.0),
            given=state.given + allocation,
            request=jnp.zeros_like(state.request),
        )
        return state, reward

    def ask(self, state: EnvState, request: Array) -> EnvState:
        """State with requests, [N] units, on the table."""
        return state.replace(request=request, asked=state.asked + request)

    def outlook(self, state: EnvState, params: EnvParams) -> laws.Outlook:
        """Beliefs about the steps after this one, [N] each; zeros from the last step on."""
        row = _row(laws.future_tables(self.law, params), state.time)
        return laws.outlook(row, state.thinning, state.scale)

    def observe(self, key: Key, state: EnvState, action: Array | None, params: EnvParams) -> Array:
        """Globals and agents' features, [5 + 6 N], see the class."""
        future, weight = self.outlook(state, params), as_float(params.weight)
        typical = 1e3 * welfare_floor(self.law, params, state.thinning * state.scale)
        return features.observation(state, future, weight, typical, self.num_steps)

    def split_observation(self, obs: Array) -> tuple[Array, Array]:
        """(globals [..., 5], features [..., N, 6]) of observations [..., 5 + 6 N]."""
        return features.split(obs)

    def episode_summary(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Fairness and use of the budget, see `measures.episode_measures`."""
        weight = as_float(params.weight)
        return episode_measures(state.given, state.asked, weight, state.total_budget)

    def baselines(self, params: EnvParams) -> dict[str, dict[str, float]]:
        """Means over 512 episodes of rules at their default strengths, see `registry.RULES`."""
        blocks = draw_blocks(jax.random.key(0), self, params, BASELINE_EPISODES)
        table = {}
        for name in BASELINES:
            rule = RULES[name]
            measures = measure_blocks(self, params, rule, as_float(rule.strengths[:1]), blocks)
            table[name] = {metric: float(np.mean(x)) for metric, x in measures.items()}
        return table

    def _discount(self, action: Array, params: EnvParams) -> Array:
        """Discounts λ of an action, [N] or [1]."""
        if self.action == "levels":
            return as_float(LEVELS)[jnp.asarray(action, jnp.int32)][None]
        shape = (self.num_agents_served,) if self.action == "per_agent_lambda" else (1,)
        chex.assert_shape(action, shape)
        reach = as_float(params.discount_reach)
        return as_float(params.discount_centre) + jnp.clip(as_float(action), -reach, reach)

    def _draw(self, key: Key, state: EnvState, params: EnvParams) -> Array:
        """Requests of the step that the state has reached, [N] units."""
        tables = (params.arrival_probability, params.mean_size, params.size_deviation)
        probability, mean, deviation = (_row(as_float(table), state.time) for table in tables)
        limit = jnp.minimum(jnp.asarray(params.max_steps_in_episode, jnp.int32), self.num_steps)
        common = laws.intensity(state.log_intensity, params)
        probability = jnp.minimum(probability * common, 1.0) * state.thinning
        probability = jnp.where(state.time < limit, probability, 0.0)
        drawn = laws.draw_requests(key, self.law, probability, mean, deviation, params)
        return drawn * state.scale


def _row(tables, time: Array):
    """Row `time` of each table, the last one past the end."""
    pick = lambda x: jax.lax.dynamic_index_in_dim(
        x, jnp.minimum(time, x.shape[0] - 1), keepdims=False
    )
    return jax.tree.map(pick, tables)
