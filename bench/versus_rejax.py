"""One task on jaxecon and on rejax, in turn: what the benches beside rejax share."""

import argparse
import json
import platform
import statistics
import sys

from peer import Peer


def main(algorithm, base, tasks, description, repeats):
    """Command line of a bench: one JSON line for each task.

    Args:
      algorithm: "ppo", "dqn" or "sac", as in the names of the programs in bench/peers.
      base, tasks: settings of all tasks, and of each by name.
      description: docstring of the script.
      repeats: default number of timed runs.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--peer-python", required=True, help="interpreter that has rejax")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--task", choices=list(tasks), action="append", help="default: all")
    options = parser.parse_args()
    for name in options.task or tasks:
        line = compare(algorithm, name, base | tasks[name], options.peer_python, options.repeats)
        print(json.dumps(line), flush=True)


def compare(algorithm, name, task, peer_python, repeats):
    """One JSON-serialisable line for one task."""
    ours = Peer(sys.executable, f"jaxecon_{algorithm}.py", task)
    theirs = Peer(peer_python, f"rejax_{algorithm}.py", task)
    ours.ask(), theirs.ask()  # warm-up
    runs = [(ours.ask(), theirs.ask()) for _ in range(repeats)]
    ours.close(), theirs.close()
    our_seconds, their_seconds = zip(*((a["seconds"], b["seconds"]) for a, b in runs), strict=True)
    ratios = sorted(b / a for a, b in zip(our_seconds, their_seconds, strict=True))
    return {
        "bench": f"{algorithm}_vs_rejax",
        "task": name,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "jaxecon": summary(ours.about, our_seconds, [a for a, _ in runs]),
        "rejax": summary(theirs.about, their_seconds, [b for _, b in runs]),
        "repeats": repeats,
        "device": f"cpu ({platform.machine()})",
    }


def summary(about, seconds, runs):
    """Time and learning curve of one side."""
    curve = [statistics.mean(row) for row in zip(*(run_curve(run) for run in runs), strict=True)]
    return {
        "seconds": round(statistics.median(seconds), 3),
        "spread": [round(min(seconds), 3), round(max(seconds), 3)],
        "compile_s": round(about["compile_s"], 2),
        "returns": [round(value, 1) for value in curve],
        "versions": about["versions"],
    }


def run_curve(run):
    """Mean over seeds at each evaluation."""
    return [statistics.mean(row) for row in run["returns"]]
