"""rejax's PPO on one task, run on request: the peer's side of bench/ppo_vs_rejax.py."""

from rejax.algos.ppo import PPO
from rejax_run import serve


def create(task, **evaluation):
    """The algorithm with the task's settings."""
    return PPO.create(
        env=task["env"],
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
        num_envs=task["num_envs"],
        num_steps=128,
        num_epochs=4,
        num_minibatches=4,
        learning_rate=task["learning_rate"],
        gamma=0.99,
        gae_lambda=0.95,
        clip_eps=0.2,
        ent_coef=0.01,
        vf_coef=0.5,
        max_grad_norm=0.5,
        **evaluation,
    )


if __name__ == "__main__":
    serve(create)
