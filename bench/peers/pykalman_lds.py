"""pykalman on linear Gaussian models: the slow side of bench/kalman_vs_dynamax.py."""

import importlib.metadata
import json
import sys
import time

from lds_problem import problem, reply
from pykalman import KalmanFilter

FITTED = [
    "transition_matrices",
    "transition_covariance",
    "observation_matrices",
    "observation_covariance",
    "initial_state_mean",
    "initial_state_covariance",
]


def main():
    task = json.loads(sys.stdin.readline())
    x, (A, Q, C, R, m, P) = problem(task["num_times"], task["batch"])
    versions = {"pykalman": importlib.metadata.version("pykalman")}
    print(json.dumps({"compile_s": 0.0, "versions": versions}), flush=True)
    for _ in sys.stdin:
        start, models = time.perf_counter(), []
        for series in x:
            model = KalmanFilter(
                A, C, Q, R, initial_state_mean=m, initial_state_covariance=P, em_vars=FITTED
            ).em(series, n_iter=task["num_iterations"])
            model.filter(series)
            model.smooth(series)
            models.append(model)
        seconds = time.perf_counter() - start  # its likelihood would be a second filter
        likelihoods = [model.loglikelihood(y) for model, y in zip(models, x, strict=True)]
        print(json.dumps(reply(seconds, likelihoods)), flush=True)


if __name__ == "__main__":
    main()
