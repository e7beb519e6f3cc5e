"""PPO on CartPole-v1 beside rejax 0.1.3, on equal work, in one process tree.

    python -m venv .venv-rejax && .venv-rejax/bin/pip install rejax==0.1.3 gymnax==0.0.9
    python bench/ppo_vs_rejax.py --peer-python .venv-rejax/bin/python

Equal work: the same network (two towers of 64 x 64 tanh), environments, steps, epochs,
minibatches, hyperparameters, and 4 evaluations of 128 sampled episodes. Both programs are compiled
once in processes of their own and then run in turn, so that a slow moment of the machine hits both.
rejax needs its own environment because it breaks on gymnax 1.x. Differences that remain: rejax
clips each gradient entry at 0.5 and updates actor and critic one after the other; jaxecon clips the
joint norm at 0.5.

Prints one JSON line per task: seconds (median and range) and compile seconds of both, their ratio
(above 1: jaxecon is faster), and the mean return at each evaluation of both.
"""

from versus_rejax import main

BASE = {"env": "CartPole-v1", "learning_rate": 2.5e-4, "num_evaluations": 4}
TASKS = {
    "1 seed, 4 envs, 500k steps": {"num_envs": 4, "total_steps": 500_000, "num_seeds": 1},
    "8 seeds, 4 envs, 500k steps": {"num_envs": 4, "total_steps": 500_000, "num_seeds": 8},
    "4 seeds, 64 envs, 1M steps": {"num_envs": 64, "total_steps": 1_000_000, "num_seeds": 4},
}

if __name__ == "__main__":
    main("ppo", BASE, TASKS, __doc__, repeats=5)
