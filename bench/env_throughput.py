"""How many environment steps per second, and what does each way of resetting cost?

    python bench/env_throughput.py                        # everything, a few minutes
    python bench/env_throughput.py --seconds 0.1 --num-envs 64

Prints JSON lines: every environment of jaxecon with the reset mode that "auto" chooses; CartPole
(gymnax) and PortfolioTrading-v0 with each mode and with a reset in every step; and two references
for CartPole, a gymnax loop written as its README does and Gymnasium's own NumPy vector
environment. All policies are linear in the observation, and on CartPole the weights are the same.
"""

import argparse
import json
import time

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from jaxecon.benchmark import (
    RESET_MODES,
    environment_throughput,
    fitting_rounds,
    linear_action,
    linear_policy,
    measure_rounds,
    report_line,
)
from jaxecon.envs.registry import list_environments, make
from jaxecon.interop.foreign import foreign_settings

NUM_ENVS = (1, 64, 4096)
COMPARED = ("CartPole-v1", "PortfolioTrading-v0")
SCAN_LENGTH = 128


def cartpole_policy():
    """(env, env_params, weights) of the CartPole references."""
    env, env_params = make("CartPole-v1")
    with foreign_settings(env):
        return env, env_params, linear_policy(jax.random.key(0), env, env_params)


def gymnax_throughput(num_envs, seconds, repeats=7):
    """CartPole through gymnax's own `step`, keys split in the loop."""
    env, env_params, weights = cartpole_policy()

    def step(carry, _):
        key, obs, state, total = carry
        key, key_step = jax.random.split(key)
        action = linear_action(weights, env, env_params, obs)
        obs, state, reward, _, _, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            jax.random.split(key_step, num_envs), state, action, env_params
        )
        return (key, obs, state, total + reward), None

    def run(num_rounds, key, obs, state, total):
        def scan(_, carry):
            return jax.lax.scan(step, carry, length=SCAN_LENGTH)[0]

        return jax.lax.fori_loop(0, num_rounds, scan, (key, obs, state, total))

    keys = jax.random.split(jax.random.key(1), num_envs)
    with foreign_settings(env):
        obs, state = jax.vmap(env.reset, in_axes=(0, None))(keys, env_params)
        start = (jax.random.key(2), obs, state, jnp.zeros(num_envs))
        return measure_rounds(
            run, *start, steps=SCAN_LENGTH * num_envs, seconds=seconds, repeats=repeats,
            bench="env_throughput", env="CartPole-v1", num_envs=num_envs, num_agents=1,
            reset_mode="every_step", library="gymnax",
        )  # fmt: skip


def gymnasium_throughput(num_envs, seconds, repeats=7):
    """CartPole as Gymnasium vectorises it with NumPy; its idle steps after an end do not count."""
    _, _, weights = cartpole_policy()
    kernel = np.asarray(weights["actor"]["Dense_0"]["kernel"])  # [4, 2]
    preference = kernel[:, 1] - kernel[:, 0]
    env = gymnasium.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point")
    obs, _ = env.reset(seed=0)

    def play(num_steps):
        nonlocal obs
        played = 0.0
        start = time.perf_counter()
        for _ in range(num_steps):
            obs, reward, _, _, _ = env.step((obs @ preference > 0.0).astype(np.int64))
            played += float(reward.sum())  # one per step, zero in the step that resets
        return played, time.perf_counter() - start

    play(10)  # warm-up
    num_steps = fitting_rounds(lambda rounds: play(rounds)[1], seconds)
    played, timed = zip(*(play(num_steps) for _ in range(repeats)), strict=True)
    steps = num_steps * num_envs
    timed = [each * steps / count for each, count in zip(timed, played, strict=True)]
    env.close()
    return report_line(
        steps, timed, None, bench="env_throughput", env="CartPole-v1", num_envs=num_envs,
        num_agents=1, reset_mode="next_step", library="gymnasium",
        gymnasium=gymnasium.__version__,
    )  # fmt: skip


def lines(sizes, seconds):
    """Every measurement, as it is made."""
    for num_envs in sizes:
        for env_id in list_environments():
            yield environment_throughput(env_id, num_envs, seconds=seconds)
        for env_id in COMPARED:
            for mode in RESET_MODES[1:]:  # "auto" has had its turn
                yield environment_throughput(env_id, num_envs, seconds=seconds, reset_mode=mode)
        yield gymnax_throughput(num_envs, seconds)
        yield gymnasium_throughput(num_envs, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of a timed call")
    parser.add_argument("--num-envs", type=int, nargs="+", default=NUM_ENVS)
    arguments = parser.parse_args()
    for line in lines(arguments.num_envs, arguments.seconds):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
