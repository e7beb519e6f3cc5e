"""rejax's SAC on one task, run on request: the peer's side of bench/sac_vs_rejax.py."""

from rejax.algos.sac import SAC
from rejax_run import serve


def create(task, **evaluation):
    """The algorithm with the task's settings."""
    return SAC.create(
        env=task["env"],
        agent_kwargs={"activation": task["activation"]},
        hidden_layer_sizes=tuple(task["hidden_sizes"]),
        num_envs=task["num_envs"],
        num_epochs=task["num_updates"],
        buffer_size=task["buffer_size"],
        fill_buffer=task["learning_starts"],
        batch_size=task["batch_size"],
        learning_rate=task["learning_rate"],
        gamma=task["gamma"],
        target_update_freq=task["num_envs"],
        polyak=1.0 - task["tau"],
        **evaluation,
    )


if __name__ == "__main__":
    serve(create)
