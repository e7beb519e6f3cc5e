"""Does a relaxed symmetry help where the symmetry breaks, and what does it cost?

    python bench/symmetry.py                                 # the acceptance table, 10 seeds
    python bench/symmetry.py --seeds 2 --updates 5           # a quick look
    python bench/symmetry.py --part speed                    # relaxed networks against perceptrons

Acceptance: PPO on PlantedSymmetryMarket-v0, whose short fees break the symmetry Z2 x C4 in
proportion to β. Prints one JSON line per arm and β: the expected reward per step of the mean action
on the same 12,800 states, after 10 updates and at the end, with 95% intervals over seeds, under
noise in the observation too; the spread of the relaxed weights of each layer, the shares of their
squares by component of the group, the number of weights, and what the optimum and the best
equivariant policy earn. The last lines say whether the criteria hold.

Speed: one line per group order and number of channels, microseconds per gradient step of the
relaxed actor and critic (`ours`) and of perceptrons with as many multiplications (`baseline`).
"""

import argparse
import functools
import json
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxecon import devices, make
from jaxecon.algos import PPOConfig, make_ppo, optimizers, ppo
from jaxecon.algos.symmetry import rates
from jaxecon.benchmark import measure_rounds
from jaxecon.networks.counting import count_parameters, matched_sizes
from jaxecon.networks.heads import NormalHead
from jaxecon.networks.mlp import MLP
from jaxecon.networks.policy import ActorCritic, make_actor_critic
from jaxecon.networks.symmetric import equivariant_body
from jaxecon.sweeps.statistics import mean_interval
from jaxecon.symmetry import (
    Block,
    components,
    cyclic,
    dihedral,
    regular,
    relaxed_weight_spectrum,
    relaxed_weight_spread,
    relaxed_weights,
    symmetric,
    trivial,
    z2,
)

PERCEPTRON = {"network": "mlp", "hidden_sizes": (64, 64)}
CHANNELS = (16, 16)
ARMS = {  # static settings, hyperparameters
    "mlp": (PERCEPTRON, {}),
    "augmented": (PERCEPTRON | {"augment": True}, {}),
    "exact": ({"network": "exact", "hidden_sizes": CHANNELS}, {}),
    "relaxed": ({"network": "relaxed", "hidden_sizes": CHANNELS}, {}),
    "relaxed, relax_rate 1": (
        {"network": "relaxed", "hidden_sizes": CHANNELS},
        {"relax_rate": 1.0},
    ),
    "rpp": ({"network": "rpp", "hidden_sizes": CHANNELS}, {}),
}
NOISE = (0.0, 0.25, 0.5, 1.0)  # on returns, whose deviation is 1.15
EARLY, STATES = 10, 256 * 50
FIRST_STD = math.exp(-0.5)  # of actions, before squashing onto [-3, 3]


def expected_reward(env, env_params, algorithm, policy, key, noise):
    """Mean over states drawn from their stationary law; reward is linear in what is not known."""
    key_states, key_noise = jax.random.split(key)
    keys = jax.random.split(key_states, STATES)
    obs, states = jax.vmap(env.reset_env, (0, None))(keys, env_params)
    seen = obs + noise * jax.random.normal(key_noise, obs.shape)
    actions = algorithm.act(key, policy, seen, None, env_params)
    unsurprising = jnp.zeros(env.num_assets)
    step = lambda state, action: env.transition(state, action, unsurprising, env_params)[1]
    return jax.vmap(step)(states, actions).mean()


def run_seed(env, algorithm, hparams, num_updates, env_params, key):
    """Rewards early, at the end and under noise, and the weights, of one seed."""
    key_init, key_train = jax.random.split(key)
    state = algorithm.init(key_init, env_params, hparams)
    limit = env_params.max_position
    log_std = jnp.full_like(state.policy.params["log_std"], jnp.log(FIRST_STD / limit))
    params = state.policy.params | {"log_std": log_std}
    state = state.replace(policy=state.policy.replace(params=params))

    def update(state, key):
        return algorithm.step(key, state, env_params, hparams)[0], None

    keys = jax.random.split(key_train, num_updates)
    judge = functools.partial(expected_reward, env, env_params, algorithm)
    key_judge = jax.random.key(7)  # the same states for every arm and seed
    state, _ = jax.lax.scan(update, state, keys[:EARLY])
    early = judge(algorithm.policy(state), key_judge, 0.0)
    state, _ = jax.lax.scan(update, state, keys[EARLY:])
    policy = algorithm.policy(state)
    final = jax.lax.map(lambda noise: judge(policy, key_judge, noise), jnp.array(NOISE))
    return early, final, policy.params


def interval(values):
    return [float(x) for x in mean_interval(np.asarray(values, np.float64))]


def spectra(env, params):
    """Share of the squares of each layer's relaxed weights by component, mean over seeds."""
    group = env.symmetry().group
    return {
        layer: np.asarray(relaxed_weight_spectrum(group, weights)).mean(axis=(0, 1)).tolist()
        for layer, weights in relaxed_weights(params).items()
    }


def acceptance(betas, arms, seeds, num_updates, matched):
    """Lines of every arm and β, as they are measured, then the criteria."""
    env, env_params = make("PlantedSymmetryMarket-v0")
    keys = jax.random.split(jax.random.key(0), seeds)
    build = lambda network, hidden_sizes: make_actor_critic(
        env, env_params, hidden_sizes, network=network
    )
    target = count_parameters(build(**PERCEPTRON))
    found = {}
    for arm in arms:
        settings, changes = ARMS[arm]
        network, sizes = settings["network"], settings["hidden_sizes"]
        if matched and network != "mlp":
            sizes = matched_sizes(lambda sizes, network=network: build(network, sizes), target)
        config = PPOConfig(32, 32, 4, 4, **settings | {"hidden_sizes": sizes})
        algorithm = make_ppo(env, config)
        hparams = algorithm.hparams.replace(learning_rate=1e-3, gamma=0.0, **changes)
        run = functools.partial(run_seed, env, algorithm, hparams, num_updates)
        program = jax.jit(
            jax.vmap(run, in_axes=(None, 0)),
            compiler_options=devices.compiler_options(jax.default_backend()),
        )
        for beta in betas:
            params = env_params.replace(break_strength=jnp.float32(beta))
            start = time.perf_counter()
            early, final, weights = jax.block_until_ready(program(params, keys))
            found[arm, beta] = {
                "bench": "symmetry", "arm": arm, "beta": beta, "hidden_sizes": sizes,
                "num_parameters": count_parameters(build(network, sizes)),
                "env_steps": num_updates * config.batch_size, "seeds": seeds,
                "reward": interval(final[:, 0]),
                "reward_after_10_updates": interval(early),
                "reward_under_noise": {
                    str(noise): interval(final[:, i]) for i, noise in enumerate(NOISE)
                },
                "optimum": float(env.optimal_reward(params)),
                "best_equivariant": float(env.best_equivariant_reward(params)),
                "spread": {
                    layer: float(x) for layer, x in relaxed_weight_spread(weights).items()
                },
                "spectrum": spectra(env, weights),
                "components": [
                    {"rank": c.rank, "kernel": c.kernel} for c in components(env.symmetry().group)
                ],
                "seconds": time.perf_counter() - start,
                "device": jax.devices()[0].device_kind,
            }  # fmt: skip
            yield found[arm, beta]
    yield from criteria(found)


def criteria(found):
    """Whether the claims hold for each relaxed arm: means over seeds, at β = 0 and β = 1."""
    is_there = lambda arm: (arm, 0.0) in found and (arm, 1.0) in found
    if not (is_there("mlp") and is_there("exact")):
        return
    reward = lambda arm, beta: found[arm, beta]["reward"][0]
    for arm in filter(is_there, ("relaxed", "relaxed, relax_rate 1")):
        best = found[arm, 1.0]["best_equivariant"]
        texts = {
            "a: at beta 0, relaxed >= exact - 0.02 and relaxed >= mlp + 0.02": (
                reward(arm, 0.0) >= max(reward("exact", 0.0) - 0.02, reward("mlp", 0.0) + 0.02)
            ),
            "b: at beta 1, relaxed >= exact + 0.1, best equivariant and mlp": (
                reward(arm, 1.0) >= max(reward("exact", 1.0) + 0.1, best, reward("mlp", 1.0))
            ),
        }
        for layers, tower in (("layers of the actor", "actor"), ("all layers", "")):
            calm, broken = (mean_spread(found[arm, beta], tower) for beta in (0.0, 1.0))
            texts[f"c: spread(beta 1) > 3 spread(beta 0), {layers}"] = broken > 3.0 * calm
        for text, passed in texts.items():
            yield {"bench": "symmetry", "arm": arm, "criterion": text, "passed": bool(passed)}


def mean_spread(line, tower):
    """Spread of the relaxed weights of a tower ("" for both), mean over its layers."""
    return np.mean([x for layer, x in line["spread"].items() if tower in layer])


GROUPS = {2: z2(), 4: cyclic(4), 8: dihedral(4), 24: symmetric(4)}
SCAN_LENGTH = 8  # gradient steps in one round


def networks_of_equal_work(group, channels):
    """A relaxed actor-critic, and perceptrons whose layers are as wide as its features."""
    copies, rep = max(1, 32 // group.order), regular(group)
    size = copies * group.order
    blocks = (Block(0, size, copies, rep),)
    hidden = (channels, channels)
    wide = (channels * group.order,) * 2
    common = {"head": NormalHead((group.order,)), "obs_shape": (size,)}
    common["num_log_std"] = group.order
    relaxed = [
        equivariant_body("relaxed", blocks, output, hidden, "tanh", 1, 1.0)
        for output in (rep, trivial(group))
    ]
    plain = [MLP(wide, outputs) for outputs in (group.order, 1)]
    return [ActorCritic(actor=a, critic=c, **common) for a, c in (relaxed, plain)]


def gradient_steps(network, hparams, batch):
    """run(num_rounds, carry): rounds of gradient steps of PPO on one minibatch."""
    optimizer = optimizers.flat_adam(
        hparams.learning_rate, max_grad_norm=hparams.max_grad_norm, multiples=rates(hparams)
    )

    def step(carry, _):
        params, opt_state = carry
        gradient, _ = jax.grad(ppo.ppo_loss, has_aux=True)(params, batch, network, hparams)
        return optimizers.descend(optimizer, gradient, opt_state, params), None

    def run(num_rounds, carry):
        several = lambda _, carry: jax.lax.scan(step, carry, length=SCAN_LENGTH)[0]
        return jax.lax.fori_loop(0, num_rounds, several, carry)

    params = network.init(jax.random.key(0))
    return run, (params, optimizer.init(params))


def random_batch(network, size):
    """A minibatch of `size` samples that could be a rollout's."""
    keys = jax.random.split(jax.random.key(1), 4)
    rows = (size,)
    return ppo.Batch(
        features=jax.random.normal(keys[0], (size, *network.obs_shape)),
        mask=None,
        latent=jax.random.normal(keys[1], (size, network.head.num_outputs)),
        log_prob=-jnp.ones(rows) * network.head.num_outputs,
        value=jnp.zeros(rows),
        advantage=jax.random.normal(keys[2], rows),
        target=jax.random.normal(keys[3], rows),
    )


def speed(batch_size, seconds, repeats=7):
    """Lines of every group order and number of channels, as they are measured."""
    hparams = ppo.PPOHyperparams(learning_rate=1e-4)
    for order, group in GROUPS.items():
        for channels in (16, 64):
            timed = []
            for network in networks_of_equal_work(group, channels):
                run, carry = gradient_steps(network, hparams, random_batch(network, batch_size))
                measured = measure_rounds(
                    run, carry, steps=SCAN_LENGTH, seconds=seconds, repeats=repeats
                )
                timed.append({
                    "microseconds": 1e6 / measured["steps_per_s"],
                    "spread": [1e6 / rate for rate in reversed(measured["spread"])],
                    "compile_s": measured["compile_s"],
                    "num_parameters": count_parameters(network),
                })  # fmt: skip
            ours, baseline = timed
            yield {
                "bench": "symmetry_speed", "group_order": order, "channels": channels,
                "batch": batch_size, "ours": ours, "baseline": baseline,
                "ratio": ours["microseconds"] / baseline["microseconds"],
                **{name: measured[name] for name in ("repeats", "device", "num_cores", "versions")},
            }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("acceptance", "speed"), default="acceptance")
    parser.add_argument("--betas", nargs="+", type=float, default=[0.0, 0.5, 1.0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--updates", type=int, default=100, help="of 1,024 environment steps each")
    parser.add_argument("--matched", action="store_true", help="as many weights as the perceptron")
    parser.add_argument("--batch", type=int, default=256, help="samples per gradient step")
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of a timed call")
    given = parser.parse_args()
    if given.part == "speed":
        lines = speed(given.batch, given.seconds)
    else:
        lines = acceptance(given.betas, given.arms, given.seeds, given.updates, given.matched)
    for line in lines:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
