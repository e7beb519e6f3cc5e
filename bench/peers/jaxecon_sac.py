"""jaxecon's SAC on one task, run on request: our side of bench/sac_vs_rejax.py."""

from jaxecon_run import serve

from jaxecon.algos import SACConfig, make_sac


def create(task, env):
    """The algorithm and its hyperparameters with the task's settings."""
    names = ("num_envs", "num_updates", "buffer_size", "batch_size", "activation")
    settings = {name: task[name] for name in names}
    hidden_sizes = tuple(task["hidden_sizes"])
    algorithm = make_sac(env, SACConfig(rollout_length=50, hidden_sizes=hidden_sizes, **settings))
    names = ("learning_rate", "gamma", "tau")
    hparams = algorithm.hparams.replace(
        learning_starts=float(task["learning_starts"]),
        total_steps=float(task["total_steps"]),
        **{name: task[name] for name in names},
    )
    return algorithm, hparams


if __name__ == "__main__":
    serve(create)
