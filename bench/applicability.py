"""Do learned masks save samples, what do they cost, and does a learned model help another task?

    python bench/applicability.py                            # every task, 32 seeds
    python bench/applicability.py --tasks maze --seeds 10

Prints JSON lines. Per task and arm: the median number of environment steps until the mean return of
finished episodes, averaged over three updates, reaches 0.9 (and how many seeds got there), the
mean return at 10,240 steps and the actions without effect per episode at 5,120 steps with 95%
intervals over seeds, the model's balanced accuracy where it was visited in the last ten updates,
and microseconds per environment step. Then the same for models reused on another task, with the
area under the curve, and for one that explores less; at last what holds over all tasks, among it
whether learned masks reach 0.9 sooner than none (one-sided Mann-Whitney test over seeds).
"""

import argparse
import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import mannwhitneyu

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


def train(algorithm, env_params, num_updates, key, eps=0.25):
    """Final state, and what each update showed.

    Return, length, share of actions without effect, and the model's two kinds of error.
    """
    hparams = algorithm.hparams.replace(ent_coef=0.01, applicability_eps=eps)
    key_init, key_train = jax.random.split(key)

    def update(state, key):
        state, metrics = algorithm.step(key, state, env_params, hparams)
        names = ("inapplicable_share", "false_inapplicable", "false_applicable")
        more = (metrics.get(name, jnp.float32(0.0)) for name in names)
        return state, (*metrics["episodes"].means().values(), *more)

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


def steps_to(reward, threshold):
    """Environment steps until the mean of three updates reaches a threshold, [seeds], or inf."""
    ends = range(1, reward.shape[1] + 1)
    reached = np.stack([reward[:, max(i - 3, 0) : i].mean(axis=1) for i in ends], 1) >= threshold
    return np.where(reached.any(axis=1), (reached.argmax(axis=1) + 1) * STEPS, np.inf)


def describe(curves, seconds, num_updates):
    """What a line says of an arm's curves, each [seeds, U]."""
    reward, length, share, hidden, offered = (last_known(curve) for curve in curves)
    first = steps_to(reward, 0.9)
    at = lambda steps: min(steps // STEPS, num_updates) - 1
    return {
        "median_steps_to_0.9": float(np.median(first)),
        "seeds_that_got_there": int(np.isfinite(first).sum()),
        "return_at_10240": interval(reward[:, at(10_240)]),
        "inapplicable_per_episode_at_5120": interval((share * length)[:, at(5120)]),
        "area_under_curve": interval(reward.mean(axis=1)),
        "balanced_accuracy": interval(1.0 - 0.5 * (hidden + offered)[:, -10:].mean(axis=1)),
        "us_per_step": statistics.median(seconds) / (reward.shape[0] * num_updates * STEPS) * 1e6,
    }


def compiled(mode, num_updates, *args):
    """A compiled run of one arm over seeds, the same for every task, and what it took."""
    env, _ = make("GridWorld-v0")
    algorithm = make_ppo(env, CONFIG(applicability=mode))

    def run(key, model, env_params, eps):
        reused = algorithm if model is None else reuse_applicability(algorithm, model)
        return train(reused, env_params, num_updates, key, eps)

    start = time.perf_counter()
    program = jax.jit(jax.vmap(run, (0, 0, None, None))).lower(*args).compile()
    return program, time.perf_counter() - start


def timed(program, *args, repeats):
    """Result, and seconds of each of `repeats` runs."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = jax.block_until_ready(program(*args))
        seconds.append(time.perf_counter() - start)
    return result, seconds


def lines(tasks, keys, num_updates, repeats):
    """Every measurement, as it is made, and what holds over all of them."""
    models, found, programs = {}, {}, {}
    common = {"bench": "applicability", "seeds": len(keys), "updates": num_updates}
    common["device"] = jax.devices()[0].device_kind

    def line(task, arm, mode, model=None, eps=0.25):
        _, env_params = make("GridWorld-v0", task=task)
        args, kind = (keys, model, env_params, jnp.float32(eps)), (mode, model is None)
        if kind not in programs:
            programs[kind] = compiled(mode, num_updates, *args)
        program, compile_s = programs[kind]
        (state, curves), seconds = timed(program, *args, repeats=repeats)
        told = describe(curves, seconds, num_updates)
        found[task, arm] = told | {"first": steps_to(last_known(curves[0]), 0.9)}
        return state, common | {"task": task, "arm": arm, "compile_s": round(compile_s, 1)} | told

    for task in tasks:
        for mode in ARMS:
            state, told = line(task, mode, mode)
            if mode == "learned":
                models[task] = state.applicability.model
            yield told
    yield line(tasks[0], "learned, eps 0.1", "learned", eps=0.1)[1]
    for source, target in TRANSFERS:
        if source in models:
            yield line(target, f"learned on {source}", "learned", models[source])[1]
    yield common | {"verdicts": verdicts(tasks, found)}


def verdicts(tasks, found):
    """The acceptance conditions, on means over seeds, and p-values."""
    of = lambda name, task, arm: found[task, arm][name][0]
    reward = functools.partial(of, "return_at_10240")
    wasted = functools.partial(of, "inapplicable_per_episode_at_5120")
    area = functools.partial(of, "area_under_curve")
    pairs = [(found[task, "learned"]["first"], found[task, "none"]["first"]) for task in tasks]
    gains = [reward(task, "learned") - reward(task, "none") for task in tasks]
    told = {
        "p_value_sooner_than_none": [
            float(mannwhitneyu(*pair, alternative="less").pvalue) for pair in pairs
        ],
        "tasks_where_return_gains_0.08": sum(gain >= 0.08 for gain in gains),
        "full_at_least_learned": [reward(t, "full") >= reward(t, "learned") for t in tasks],
        "wasted_at_most_half": [wasted(t, "learned") <= 0.5 * wasted(t, "none") for t in tasks],
        "accuracy_at_least_0.95": [
            of("balanced_accuracy", task, "learned") >= 0.95 for task in tasks
        ],
    }
    for source, target in TRANSFERS:
        if (target, f"learned on {source}") in found and (target, "learned") in found:
            gain = area(target, f"learned on {source}") - area(target, "learned")
            told[f"area gained by {source} on {target}"] = gain
    medians = [
        found[tasks[0], arm]["median_steps_to_0.9"] for arm in ("learned", "learned, eps 0.1")
    ]
    return told | {"eps 0.1 slower than 0.25": medians[1] > medians[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(MAPS), choices=list(MAPS))
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--updates", type=int, default=80, help="of 512 environment steps each")
    parser.add_argument("--repeats", type=int, default=1, help="timed runs of each arm")
    arguments = parser.parse_args()
    keys = jax.random.split(jax.random.key(0), arguments.seeds)
    for line in lines(arguments.tasks, keys, arguments.updates, arguments.repeats):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
