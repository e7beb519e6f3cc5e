"""Do learned policies allocate more fairly than the tuned rule SAFFE-D?

    python bench/seqalloc_ppo.py                                   # 10 seeds of every learner
    python bench/seqalloc_ppo.py ppo_lambda --seeds 2 --steps 200000 --settings sparse_symmetric

PPO with the network "sets" learns changes of SAFFE-D's discount from its tuned value (ppo_lambda;
ppo_lambda_front with the front split; ppo_per_agent one change per agent) or parts of the budget
(ppo_simplex), DQN one of 9 discounts (dqn_levels); N = 20 agents, T = 40 steps, reward "regret".
All seeds of a learner train in one program. Policies are then played on the demand that the rules
are played on.

Prints JSON lines. A learner's line has its mean log Nash gap (0 is the offline optimum) and, for
each of the tuned rules saffe_d and saffe_d_front, the mean difference from the rule with two 95%
intervals, above 0 where the policy is fairer: over seeds, and over episodes with the seeds'
policies averaged in each; and the number of seeds whose own interval over episodes lies above 0.
"""

import argparse
import functools
import json
import time

import numpy as np

from jaxecon.devices import compiler_options, num_cores, over_devices, use_all_cores

use_all_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from jaxecon.algos import DQNConfig, PPOConfig, make_dqn, make_ppo, train  # noqa: E402
from jaxecon.envs.allocation.draws import draw_episodes  # noqa: E402
from jaxecon.envs.allocation.registry import RULES  # noqa: E402
from jaxecon.envs.allocation.settings import make_sequential_allocation  # noqa: E402
from jaxecon.envs.allocation.simulate import (  # noqa: E402
    measure_totals,
    play,
    replay_policy,
)
from jaxecon.sweeps.allocation import tune  # noqa: E402
from jaxecon.sweeps.statistics import mean_interval  # noqa: E402

GAP = "log_nash_gap"
KEY_TUNE, KEY_TEST, KEY_TRAIN = jax.random.split(jax.random.key(0), 3)
PPO = PPOConfig(
    num_envs=64,
    rollout_length=40,
    num_minibatches=8,
    hidden_sizes=(32, 32),
    network="sets",
    normalise_rewards=True,
    num_eval_episodes=1,
)
DQN = DQNConfig(
    num_envs=64, rollout_length=40, num_updates=4, hidden_sizes=(64, 64), num_eval_episodes=1
)
LEARNERS = {  # action, split, and the reach of changes of the discount
    "ppo_lambda": ("lambda", "proportional", 0.5),
    "ppo_lambda_front": ("lambda", "front", 0.5),
    "ppo_per_agent": ("per_agent_lambda", "proportional", 2.0),
    "ppo_simplex": ("simplex", "proportional", 1.0),
    "dqn_levels": ("levels", "proportional", 1.0),
}


def make_learner(name, env, steps):
    """The algorithm and its hyperparameters."""
    if name.startswith("dqn"):
        algorithm = make_dqn(env, DQN)
        numbers = {"learning_rate": 3e-4, "gamma": 0.95, "epsilon_share": 0.5, "anneal": 1.0}
    else:
        algorithm = make_ppo(env, PPO)
        numbers = {"learning_rate": 1e-3, "gamma": 1.0, "anneal": 1.0}
    return algorithm, algorithm.hparams.replace(total_steps=float(steps), **numbers)


def compiled(function, argument):
    """The compiled function, spread over the cores where they divide the seeds, and its seconds."""
    start = time.perf_counter()
    spread = over_devices(function) if argument.shape[0] % num_cores() == 0 else function
    program = jax.jit(spread).lower(argument).compile(compiler_options=compiler_options("cpu"))
    return program, time.perf_counter() - start


def learn(name, env, params, seeds, steps):
    """(algorithm, policies [S, ...], what it cost)."""
    algorithm, hparams = make_learner(name, env, steps)
    iterations = -(-steps // algorithm.steps_per_iteration)

    @jax.vmap
    def run(key):
        state, _ = train(algorithm, key, params, hparams, num_iterations=iterations)
        return algorithm.policy(state)

    keys = jax.random.split(KEY_TRAIN, seeds)
    program, compile_s = compiled(run, keys)
    start = time.perf_counter()
    policies = jax.block_until_ready(program(keys))
    seconds = time.perf_counter() - start
    total = seeds * iterations * algorithm.steps_per_iteration
    return algorithm, policies, {
        "steps_per_seed": total // seeds, "seconds": round(seconds, 1),
        "compile_s": round(compile_s, 1), "steps_per_s": round(total / seconds),
    }  # fmt: skip


def play_policies(algorithm, policies, env, params, episodes):
    """Log Nash gaps [S, E] of S policies on the same draws."""

    @jax.jit
    @jax.vmap
    def gaps(policy):
        act = lambda obs: algorithm.act(jax.random.key(0), policy, obs, None, params)
        return replay_policy(env, params, act, episodes)[GAP]

    return np.asarray(gaps(policies))


def play_rules(setting, episodes):
    """({rule: tuned strength}, {rule: log Nash gaps [E]})."""
    env, params = make_sequential_allocation(setting)
    names = ("saffe_d", "saffe_d_front", "saffe", "hope_online")
    strengths = {name: tune(KEY_TUNE, env, params, name) for name in names}

    @functools.partial(jax.jit, static_argnames="name")
    def gaps(name, strength):
        given = play(env, params, RULES[name], strength, episodes).given
        return measure_totals(env, params, episodes, given)[GAP]

    gap = {name: np.asarray(gaps(name, jnp.float32(x))) for name, x in strengths.items()}
    return strengths, gap


def differences(gaps, rule):
    """How far S policies, gaps [S, E], lie above a rule, gaps [E]."""
    each = gaps - rule
    over_seeds, over_episodes = mean_interval(each.mean(1)), mean_interval(each.mean(0))
    above = sum(mean_interval(row).low > 0.0 for row in each)
    rounded = lambda interval: [round(float(x), 5) for x in interval[1:]]
    return {
        "difference": round(float(each.mean()), 5), "over_seeds": rounded(over_seeds),
        "over_episodes": rounded(over_episodes), "seeds_above": above,
    }  # fmt: skip


def study(setting, learners, seeds, steps, num_episodes):
    """JSON-serialisable lines of one setting."""
    env, params = make_sequential_allocation(setting)
    episodes = jax.jit(draw_episodes, static_argnums=(1, 3))(KEY_TEST, env, params, num_episodes)
    strengths, rules = play_rules(setting, episodes)
    about = {"bench": "seqalloc_ppo", "setting": setting, "episodes": num_episodes}
    for name, gap in rules.items():
        yield about | {"rule": name, "strength": strengths[name], GAP: round(float(gap.mean()), 5)}
    for name in learners:
        action, split, reach = LEARNERS[name]
        centre = strengths["saffe_d_front" if split == "front" else "saffe_d"]
        env, params = make_sequential_allocation(
            setting, action=action, split=split, reward="regret", discount_centre=centre,
            discount_reach=reach,
        )  # fmt: skip
        algorithm, policies, cost = learn(name, env, params, seeds, steps)
        gaps = play_policies(algorithm, policies, env, params, episodes)
        line = about | {"learner": name, "seeds": seeds, GAP: round(float(gaps.mean()), 5)}
        line |= {rule: differences(gaps, rules[rule]) for rule in ("saffe_d", "saffe_d_front")}
        yield line | cost | {"cores": num_cores(), "device": jax.devices()[0].device_kind}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("learners", nargs="*", default=LEARNERS, help=", ".join(LEARNERS))
    parser.add_argument("--settings", nargs="+", default=["sparse_symmetric", "sparse_asymmetric"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400_000, help="of training, each seed")
    parser.add_argument("--episodes", type=int, default=4096, help="that policies are judged by")
    arguments = parser.parse_args()
    for setting in arguments.settings:
        for line in study(
            setting, arguments.learners, arguments.seeds, arguments.steps, arguments.episodes
        ):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
