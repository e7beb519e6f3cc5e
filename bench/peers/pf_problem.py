"""The problems and the score that both sides of bench/pf_vs_cvxpylayers.py work on."""

import numpy as np


def problem(num_agents, num_resources, num):
    """(valuations, demands, supplies, cotangent) in float64, the same in every process."""
    draw = np.random.default_rng(0)
    shape = (num, num_agents, num_resources)
    valuations, demands = draw.uniform(0.05, 1.0, shape), draw.uniform(0.1, 1.0, shape)
    supplies = draw.uniform(0.3, 0.8, (num, num_resources)) * demands.sum(1)
    return valuations, demands, supplies, draw.normal(size=shape)


def reply(seconds, allocation, gradient):
    """What one run says: its time, and the first answers for comparison."""
    first = lambda x: np.asarray(x, np.float64)[:8].ravel().tolist()
    return {"seconds": seconds, "allocation": first(allocation), "gradient": first(gradient)}
