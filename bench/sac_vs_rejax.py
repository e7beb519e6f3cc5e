"""SAC on Pendulum-v1 beside rejax 0.1.3, on equal work, in one process tree.

    python -m venv .venv-rejax && .venv-rejax/bin/pip install rejax==0.1.3 gymnax==0.0.9
    python bench/sac_vs_rejax.py --peer-python .venv-rejax/bin/python

Equal work: the same networks (actor and two critics of 64 x 64 relu), environments, steps, buffer,
updates of the same batch after every step of the environments, the same target critics, learning
rates and target entropy, and 4 evaluations of 128 episodes. Both programs are compiled once in
processes of their own and then run in turn, so that a slow moment of the machine hits both. rejax
draws its batch without replacement, which sorts a buffer's worth of numbers; the tasks with a
buffer as small as the run show what is left of the ratio without that. Other differences: rejax
keeps next observations, takes a time limit for an ending, updates actor, critics and temperature
one after the other and evaluates by sampled actions; jaxecon samples with replacement, bootstraps
where an episode was cut off, takes the three steps at once and evaluates by the policy's mode.

Prints one JSON line per task: seconds (median and range) and compile seconds of both, their ratio
(above 1: jaxecon is faster), and the mean return at each evaluation of both.
"""

from versus_rejax import main

BASE = {
    "env": "Pendulum-v1",
    "activation": "relu",
    "hidden_sizes": [64, 64],
    "num_seeds": 1,
    "buffer_size": 131_072,
    "batch_size": 256,
    "learning_starts": 1_000,
    "learning_rate": 1e-3,
    "gamma": 0.99,
    "tau": 0.005,
    "num_evaluations": 4,
}
SERIAL = {"num_envs": 1, "num_updates": 1, "total_steps": 20_000}
PARALLEL = {"num_envs": 10, "num_updates": 5, "total_steps": 40_000}
TASKS = {
    "1 env, 20k steps, 20k updates": SERIAL,
    "1 env, 20k steps, 20k updates, buffer of 20k": SERIAL | {"buffer_size": 20_000},
    "10 envs, 40k steps, 20k updates": PARALLEL,
    "10 envs, 40k steps, 20k updates, buffer of 40k": PARALLEL | {"buffer_size": 40_000},
}

if __name__ == "__main__":
    main("sac", BASE, TASKS, __doc__, repeats=3)
