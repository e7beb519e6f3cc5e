"""A program that runs in a process of its own and answers one JSON line to each line it is sent."""

import json
import pathlib
import subprocess

PEERS = pathlib.Path(__file__).parent / "peers"


class Peer:
    """A process that has prepared a task and runs it when asked.

    Args:
      python: interpreter, of whichever environment the program needs.
      script: file name in bench/peers.
      task: JSON-serialisable; the program's first line of input. Its reply is `about`.
      cores: processor cores that the process may use; None for all.
    """

    def __init__(self, python, script, task, cores=None):
        command = [python, str(PEERS / script)]
        if cores is not None:
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = self.ask(json.dumps(task))

    def ask(self, line="run"):
        """Send a line, return the reply."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            raise SystemExit(f"{self.process.args} ended; see its message above.")
        return json.loads(reply)

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
