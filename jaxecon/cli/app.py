"""Commands and their options; each does its heavy imports when it runs, so that --help is quick."""

import json
import pathlib
import sys
from typing import Annotated, Any

import typer

from jaxecon.cli import mechanism
from jaxecon.cli.allocate import allocate
from jaxecon.cli.bandit import bandit
from jaxecon.cli.options import Config, Json, Keywords, Numbers, Out, Overwrite, console, errors

app = typer.Typer(
    name="jaxecon",
    help="Economics at accelerator speed: compiled environments, training and sweeps.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(mechanism.app, name="mechanism")
app.command(
    epilog="Examples:  jaxecon allocate --setting sparse --episodes 10000 --plot    "
    "jaxecon allocate --demand sites.csv"
)(allocate)
app.command(
    epilog="Examples:  jaxecon bandit emkf --seeds 10 --plot    "
    "jaxecon bandit dynlin_ucb linucb --on DynamicalLinearBandit-v0"
)(bandit)


def main() -> None:
    """Run the command line; errors that a user can mend come without a traceback."""
    try:
        app(standalone_mode=True)
    except (ValueError, OSError, MemoryError, ImportError) as error:
        errors.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@app.command(epilog="Examples:  jaxecon envs    jaxecon envs Cournot-v0    jaxecon envs --json")
def envs(
    env_id: Annotated[str | None, typer.Argument(help="Show one environment in detail.")] = None,
    gymnax: Annotated[bool, typer.Option(help="List gymnax's environments too.")] = False,
    as_json: Json = False,
) -> None:
    """List environments, or describe one: spaces, parameters, what it reports."""
    from jaxecon.cli import describe

    rows: Any = describe.environment(env_id) if env_id else describe.environments(gymnax)
    if as_json:
        console.print_json(json.dumps(rows))
    else:
        console.print(describe.as_table(rows))


@app.command(
    epilog="Examples:  jaxecon train Newsvendor-v0    "
    "jaxecon train CartPole-v1 --steps 500000 --set learning_rate=2.5e-4 --config num_envs=4"
)
def train(
    env_id: Annotated[str, typer.Argument(help="An id that 'jaxecon envs' lists.")],
    steps: Annotated[int, typer.Option(help="Environment steps per seed.", min=1)] = 200_000,
    seeds: Annotated[int, typer.Option(help="Independent runs.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Seed that all random numbers follow from.")] = 0,
    evaluations: Annotated[int, typer.Option(help="Evaluations per run.", min=1)] = 10,
    metric: Annotated[str, typer.Option(help="Metric of the leaderboard.")] = "return",
    set_: Numbers = None,
    config: Config = None,
    env: Keywords = None,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train PPO on one environment and report what it reached.

    The same as a sweep of one configuration: the run folder has results, policies and a report,
    and an interrupted run goes on when the command is repeated.
    """
    from jaxecon.cli.running import parse_assignments, run_and_report, split_numbers

    hparams, env_numbers = split_numbers(set_ or [])
    study = {
        "study": {
            "name": f"{env_id}-ppo",
            "seed": seed,
            "num_seeds": seeds,
            "total_steps": steps,
            "num_evaluations": evaluations,
            "metric": metric,
        },
        "env": {"id": env_id, "static": parse_assignments(env or []), "params": env_numbers},
        "algorithm": {"config": parse_assignments(config or []), "hparams": hparams},
    }
    run_and_report(study, out, overwrite, as_json, console)


@app.command(
    epilog="Examples:  jaxecon sweep examples/sp500.toml    "
    "jaxecon sweep study.toml --out runs/second --overwrite"
)
def sweep(
    study: Annotated[pathlib.Path, typer.Argument(help="Study file (TOML).")],
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Run a study: many configurations and seeds as one compiled program.

    Writes a run folder with results.parquet, plots and report.html, and prints the leaderboard.
    Interrupted, the same command goes on from the last checkpoint with the same result.
    """
    from jaxecon.cli.running import run_and_report

    run_and_report(study, out, overwrite, as_json, console)


@app.command(epilog="Examples:  jaxecon report runs/sp500    jaxecon report runs/sp500 --json")
def report(
    run_dir: Annotated[pathlib.Path, typer.Argument(help="Folder of a finished run.")],
    top: Annotated[int, typer.Option(help="Rows of the leaderboard.", min=1)] = 10,
    as_json: Json = False,
) -> None:
    """Draw plots and report.html of a finished run anew, and print its leaderboard."""
    from jaxecon.cli.running import print_report

    print_report(run_dir, top, as_json, console)


@app.command(
    epilog="Examples:  jaxecon bench    jaxecon bench Cournot-v0 --num-envs 1 --num-envs 4096"
)
def bench(
    env_id: Annotated[
        list[str] | None, typer.Argument(help="Environments (default: all of jaxecon).")
    ] = None,
    num_envs: Annotated[
        list[int] | None, typer.Option(help="Batch sizes (default: 1, 64 and 4096).", min=1)
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of each of seven timed runs.")] = 0.5,
) -> None:
    """Measure environment steps per second on this machine; one JSON line per result."""
    from jaxecon.benchmark import environment_throughput
    from jaxecon.envs.registry import list_environments

    for name in env_id or list_environments():
        for batch in num_envs or [1, 64, 4096]:
            line = environment_throughput(name, batch, seconds=seconds)
            print(json.dumps(line), flush=True)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import jaxecon

        console.print(jaxecon.__version__)
        raise typer.Exit
