"""Do learned masks save samples, what do they cost, and does a learned model help another task?

    python bench/applicability.py                            # every task, 10 seeds
    python bench/applicability.py --tasks maze --seeds 32

Prints JSON lines. Per task and arm: the median number of environment steps until the mean return of
finished episodes, averaged over three updates, reaches 0.9 (and how many seeds got there), the
mean return at 10,240 steps and the actions without effect per episode at 5,120 steps with 95%
intervals over seeds, and microseconds per environment step. Then the same for models reused on
another task, with the area under the curve.
"""

import argparse
import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon import make
from jaxecon.algos import PPOConfig, make_ppo
from jaxecon.algos.applicability import MODES
from jaxecon.algos.applicability_store import reuse_applicability
from jaxecon.envs.gridworld import MAPS
from jaxecon.sweeps.statistics import mean_interval

CONFIG = functools.partial(
    PPOConfig, num_envs=8, rollout_length=64, num_epochs=10, num_minibatches=8
)
ARMS = tuple(mode for mode in MODES if mode != "partial")
TRANSFERS = (("maze", "x_island_2"), ("key_door_1", "key_door_2"), ("maze", "key_door_1"))
STEPS = 512  # environment steps per update


def train(algorithm, env_params, num_updates, key):
    """Final state, and return, length and share of actions without effect of each update."""
    hparams = algorithm.hparams.replace(ent_coef=0.01)
    key_init, key_train = jax.random.split(key)

    def update(state, key):
        state, metrics = algorithm.step(key, state, env_params, hparams)
        share = metrics.get("inapplicable_share", jnp.float32(0.0))
        return state, (*metrics["episodes"].means().values(), share)

    state = algorithm.init(key_init, env_params, hparams)
    return jax.lax.scan(update, state, jax.random.split(key_train, num_updates))


def last_known(values):
    """[seeds, U] with updates in which no episode ended holding the value before, 0 at first."""
    values = np.array(values)
    values[:, 0] = np.nan_to_num(values[:, 0])
    for column in range(1, values.shape[1]):
        missing = np.isnan(values[:, column])
        values[missing, column] = values[missing, column - 1]
    return values


def interval(values):
    return [float(x) for x in mean_interval(np.asarray(values, np.float64))]


def describe(curves, seconds, num_updates):
    """What a line says of an arm's curves, each [seeds, U]."""
    reward, length, share = (last_known(curve) for curve in curves)
    smooth = np.stack([reward[:, max(i - 2, 0) : i + 1].mean(axis=1) for i in range(num_updates)])
    reached = smooth.T >= 0.9
    first = np.where(reached.any(axis=1), (reached.argmax(axis=1) + 1) * STEPS, np.inf)
    at = lambda steps: min(steps // STEPS, num_updates) - 1
    return {
        "median_steps_to_0.9": float(np.median(first)),
        "seeds_that_got_there": int(reached.any(axis=1).sum()),
        "return_at_10240": interval(reward[:, at(10_240)]),
        "inapplicable_per_episode_at_5120": interval((share * length)[:, at(5120)]),
        "area_under_curve": interval(reward.mean(axis=1)),
        "us_per_step": statistics.median(seconds) / (reward.shape[0] * num_updates * STEPS) * 1e6,
    }


def measured(run, *args, repeats):
    """Result, seconds of each of `repeats` runs, and seconds of compilation."""
    start = time.perf_counter()
    compiled = jax.jit(run).lower(*args).compile()
    compile_s, seconds = time.perf_counter() - start, []
    result = jax.block_until_ready(compiled(*args))
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        seconds.append(time.perf_counter() - start)
    return result, seconds, compile_s


def lines(tasks, keys, num_updates, repeats):
    """Every measurement, as it is made."""
    models, common = {}, {"bench": "applicability", "seeds": len(keys), "updates": num_updates}
    common["device"] = jax.devices()[0].device_kind
    for task in tasks:
        env, env_params = make("GridWorld-v0", task=task)
        for mode in ARMS:
            algorithm = make_ppo(env, CONFIG(applicability=mode))
            run = jax.vmap(functools.partial(train, algorithm, env_params, num_updates))
            (state, curves), seconds, compile_s = measured(run, keys, repeats=repeats)
            if mode == "learned":
                models[task] = state.applicability.model
            about = {"task": task, "arm": mode, "compile_s": compile_s}
            yield common | about | describe(curves, seconds, num_updates)
    for source, target in TRANSFERS:
        if source not in models:
            continue
        env, env_params = make("GridWorld-v0", task=target)
        algorithm = make_ppo(env, CONFIG(applicability="learned"))

        def run(model, key, algorithm=algorithm, env_params=env_params):
            return train(reuse_applicability(algorithm, model), env_params, num_updates, key)

        (_, curves), seconds, compile_s = measured(
            jax.vmap(run), models[source], keys, repeats=repeats
        )
        about = {"task": target, "arm": f"learned on {source}", "compile_s": compile_s}
        yield common | about | describe(curves, seconds, num_updates)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=sorted(MAPS), choices=sorted(MAPS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--updates", type=int, default=80, help="of 512 environment steps each")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    keys = jax.random.split(jax.random.key(0), arguments.seeds)
    for line in lines(arguments.tasks, keys, arguments.updates, arguments.repeats):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
