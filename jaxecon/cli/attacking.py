"""Measuring what a lie gains, under a known rule and in auctions that were learned."""

import pathlib
from typing import Any

import jax

import jaxecon
from jaxecon.algos import build_mechanism
from jaxecon.econ.allocation import efficiency, log_nash_welfare
from jaxecon.mechanisms.auctions.judging import judge
from jaxecon.mechanisms.base import FunctionMechanism
from jaxecon.mechanisms.exploitability import exploitability
from jaxecon.mechanisms.priors import draw_allocation_types, report_space
from jaxecon.mechanisms.registry import RULES
from jaxecon.suggest import unknown_name

NUM_REVENUE_TYPES = 200_000


def attack_rule(
    rule: str,
    *,
    num_agents: int,
    num_resources: int,
    num_instances: int,
    private: tuple[str, ...],
    num_restarts: int,
    num_steps: int,
    seed: int,
) -> dict[str, Any]:
    """What a rule achieves on instances of the uniform prior, and what liars gain.

    Raises:
      ValueError: an unknown rule or private field; the nearest names are given.
    """
    if rule not in RULES:
        raise ValueError(unknown_name("rule", rule, RULES))
    mechanism = RULES[rule]
    key_types, key_attack = jax.random.split(jax.random.key(seed))
    draw = lambda key: draw_allocation_types(key, num_agents, num_resources)
    types = jax.vmap(draw)(jax.random.split(key_types, num_instances))
    space = report_space()
    attack = jax.jit(
        lambda types, key: exploitability(
            mechanism,
            types,
            key=key,
            private=private,
            space={name: bounds for name, bounds in space.items() if name in private},
            num_restarts=num_restarts,
            num_steps=num_steps,
        )
    )
    result = attack(types, key_attack)
    outcome = mechanism(types)
    welfare = log_nash_welfare(types.utility(outcome), types.weights)
    return {
        "rule": rule,
        "agents": num_agents,
        "resources": num_resources,
        "instances": num_instances,
        "private": ", ".join(private),
        "log Nash welfare": float(welfare.mean()),
        "efficiency": float(efficiency(outcome, types).mean()),
        "mean relative gain of a lie": float(result.relative_gain.mean()),
        "mean of the worst agent": float(result.relative_gain.max(-1).mean()),
        "largest relative gain": float(result.relative_gain.max()),
        "mean absolute gain in utils": float(result.gain.mean()),
    }


def judge_run(
    run_dir: pathlib.Path, environment: dict[str, Any], *, num_judged: int
) -> list[dict[str, Any]]:
    """Revenue and both estimates of regret of every auction of a finished run, in float64.

    Args:
      run_dir: the run's folder.
      environment: id, static keywords and numbers of the environment that it was learned in.
      num_judged: instances on which regret is estimated; revenue is the mean over 200,000.
    """
    from jaxecon import sweeps
    from jaxecon.sweeps import report

    env, env_params = jaxecon.make(environment["id"], **environment["static"])
    env_params = env_params.replace(**environment["params"])
    run = report.load_run(run_dir)
    is_truthful = build_mechanism(env, **run.study["algorithm"]["config"]).is_truthful
    lanes = run.results[["config", "seed"]].drop_duplicates().sort_values(["config", "seed"])
    rows = []
    for config, seed in lanes.itertuples(index=False):
        learned = sweeps.load_mechanism(run_dir, int(config), int(seed))
        with jax.enable_x64(True):
            key_types, key_attack = jax.random.split(jax.random.key(0))
            keys = jax.random.split(key_types, NUM_REVENUE_TYPES)
            types = jax.vmap(env.draw_types, in_axes=(0, None))(keys, env_params)
            judgement = judge(
                FunctionMechanism(learned, is_truthful),
                types,
                key=key_attack,
                space=env.report_space(env_params),
                num_judged=num_judged,
            )
            numbers = {name: float(x) for name, x in judgement._asdict().items()}
        rows.append({"config": int(config), "seed": int(seed)} | numbers)
    return rows
