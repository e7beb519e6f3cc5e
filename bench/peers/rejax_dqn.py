"""rejax's DQN on one task, run on request: the peer's side of bench/dqn_vs_rejax.py."""

from rejax.algos.dqn import DQN
from rejax_run import serve


def create(task, **evaluation):
    """The algorithm with the task's settings."""
    return DQN.create(
        env=task["env"],
        agent_kwargs={"activation": task["activation"]},  # 64 x 64 is fixed
        num_envs=task["num_envs"],
        num_epochs=task["num_updates"],
        buffer_size=task["buffer_size"],
        fill_buffer=task["learning_starts"],
        batch_size=task["batch_size"],
        learning_rate=task["learning_rate"],
        gamma=task["gamma"],
        max_grad_norm=10.0,
        target_update_freq=task["num_envs"],
        polyak=1.0 - task["tau"],
        eps_start=1.0,
        eps_end=task["epsilon_end"],
        exploration_fraction=task["epsilon_share"],
        ddqn=True,
        **evaluation,
    )


if __name__ == "__main__":
    serve(create)
