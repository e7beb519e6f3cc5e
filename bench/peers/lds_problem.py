"""The series and first guess that all sides of bench/kalman_vs_dynamax.py work on."""

import json
import sys
import time

import numpy as np

HIDDEN, OBSERVED = 4, 2


def problem(num_times, num):
    """Series [num, T, p] and a first guess (A, Q, C, R, m, P), float64, the same everywhere."""
    draw = np.random.default_rng(0)
    basis = np.linalg.qr(draw.normal(size=(HIDDEN, HIDDEN)))[0]
    A = basis @ np.diag(np.linspace(0.95, 0.665, HIDDEN)) @ basis.T
    C = draw.normal(size=(OBSERVED, HIDDEN)) / 2.0
    guess = 0.5 * draw.normal(size=(OBSERVED, HIDDEN))
    shape = (num_times, HIDDEN + OBSERVED)
    shocks = np.stack([np.random.default_rng(1 + r).normal(size=shape) for r in range(num)])
    z, x = np.zeros((num, HIDDEN)), np.zeros((num, num_times, OBSERVED))
    for t in range(num_times):
        x[:, t] = z @ C.T + np.sqrt(0.5) * shocks[:, t, HIDDEN:]
        z = z @ A.T + np.sqrt(0.1) * shocks[:, t, :HIDDEN]
    half = lambda n: 0.5 * np.eye(n)
    return x, (
        half(HIDDEN), half(HIDDEN), guess, half(OBSERVED), np.zeros(HIDDEN), np.eye(HIDDEN),
    )  # fmt: skip


def reply(seconds, likelihood):
    """What one run says: its time, and log-likelihoods of the first replicas."""
    return {"seconds": seconds, "likelihood": np.asarray(likelihood, np.float64)[:8].tolist()}


def serve_program(compile_program, x, versions):
    """Compile a JAX program of the series, then run it once for each line of standard input.

    Its first result is the log-likelihoods.
    """
    import jax

    start = time.perf_counter()
    program = compile_program()
    compile_s = time.perf_counter() - start
    print(json.dumps({"compile_s": compile_s, "versions": versions}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        likelihood, *_ = jax.block_until_ready(program(x))
        print(json.dumps(reply(time.perf_counter() - start, likelihood)), flush=True)
