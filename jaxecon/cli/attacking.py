"""Measuring what a lie gains under a known rule."""

from typing import Any

import jax

from jaxecon.econ.allocation import efficiency, log_nash_welfare
from jaxecon.mechanisms.exploitability import exploitability
from jaxecon.mechanisms.priors import draw_allocation_types, report_space
from jaxecon.mechanisms.registry import RULES
from jaxecon.suggest import unknown_name


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
