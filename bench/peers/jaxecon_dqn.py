"""jaxecon's DQN on one task, run on request: our side of bench/dqn_vs_rejax.py."""

from jaxecon_run import serve

from jaxecon.algos import DQNConfig, make_dqn


def create(task, env):
    """The algorithm and its hyperparameters with the task's settings."""
    names = ("num_envs", "num_updates", "buffer_size", "batch_size", "activation")
    settings = {name: task[name] for name in names}
    algorithm = make_dqn(env, DQNConfig(rollout_length=50, **settings))
    names = ("learning_rate", "gamma", "tau", "epsilon_end", "epsilon_share")
    hparams = algorithm.hparams.replace(
        learning_starts=float(task["learning_starts"]),
        total_steps=float(task["total_steps"]),
        **{name: task[name] for name in names},
    )
    return algorithm, hparams


if __name__ == "__main__":
    serve(create)
