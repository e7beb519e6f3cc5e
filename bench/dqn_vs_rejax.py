"""DQN on CartPole-v1 beside rejax 0.1.3, on equal work, in one process tree.

    python -m venv .venv-rejax && .venv-rejax/bin/pip install rejax==0.1.3 gymnax==0.0.9
    python bench/dqn_vs_rejax.py --peer-python .venv-rejax/bin/python

Equal work: the same network (64 x 64 swish), environments, steps, buffer, one update of the same
batch after every step of the environments, the same target network and exploration, double
Q-learning, and 8 evaluations of 128 episodes. Both programs are compiled once in processes of
their own and then run in turn, so that a slow moment of the machine hits both. Differences that
remain: rejax samples without replacement, keeps next observations, takes a time limit for an
ending, clips each gradient entry at 10, starts from other random kernels and evaluates with 0.5% of
random actions; jaxecon samples with replacement, bootstraps where an episode was cut off, does not
clip and evaluates greedily.

Prints one JSON line per task: seconds (median and range) and compile seconds of both, their ratio
(above 1: jaxecon is faster), and the mean return at each evaluation of both.
"""

from versus_rejax import main

BASE = {
    "env": "CartPole-v1",
    "activation": "swish",
    "num_envs": 10,
    "total_steps": 200_000,
    "num_updates": 1,
    "buffer_size": 131_072,
    "batch_size": 256,
    "learning_starts": 2_048,
    "learning_rate": 1e-3,
    "gamma": 0.99,
    "tau": 0.05,
    "epsilon_end": 0.05,
    "epsilon_share": 0.5,
    "num_evaluations": 8,
}
TASKS = {
    "1 seed, 10 envs, 200k steps": {"num_seeds": 1},
    "4 seeds, 10 envs, 200k steps": {"num_seeds": 4},
}

if __name__ == "__main__":
    main("dqn", BASE, TASKS, __doc__, repeats=3)
