"""`jaxecon bandit`: play policies against hidden, moving contexts and compare their regret."""

import json
import pathlib
from typing import Annotated, Any

import typer

from jaxecon.cli.options import Config, Json, Keywords, Numbers, Overwrite, console, errors


def bandit(
    policies: Annotated[
        list[str] | None,
        typer.Argument(
            help="Policies, such as emkf, lag_ts or ucb1 (default: those that fit the bandit)."
        ),
    ] = None,
    env_id: Annotated[
        str, typer.Option("--on", help="A bandit that 'jaxecon envs' lists.")
    ] = "PartiallyObservedLinearBandit-v0",
    seeds: Annotated[int, typer.Option(help="Runs, each on an instance of its own.", min=1)] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds per run.", min=1)] = 4000,
    seed: Annotated[int, typer.Option(help="Seed that all random numbers follow from.")] = 0,
    set_: Numbers = None,
    config: Config = None,
    env: Keywords = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the regret curves.")] = False,
    out: Annotated[
        pathlib.Path, typer.Option("--out", "-o", help="Folder of runs, curves and picture.")
    ] = pathlib.Path("runs/bandit"),
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Play bandit policies on the same instances and compare three regrets.

    Against the arm that is best given the hidden context (clairvoyant), against the best rule that
    filters observations (feasible), and against the best rule on the present observation
    (observable); restless bandits measure all three against a bound. Each policy is a study of its
    own, in a folder of its name; all are checked before the first is run.
    """
    from rich.markup import escape

    from jaxecon.cli.running import parse_assignments, run_with_progress, split_numbers
    from jaxecon.sweeps import bandits
    from jaxecon.sweeps.storage import write_parquet

    try:
        hparams, env_params = split_numbers(set_ or [])
        studies = bandits.bandit_studies(
            policies or None, env_id, num_seeds=seeds, num_rounds=rounds, seed=seed,
            env=parse_assignments(env or []), env_params=env_params,
            config=parse_assignments(config or []), hparams=hparams,
        )  # fmt: skip
    except ValueError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    runs = {
        policy: run_with_progress(study, out / policy, overwrite, as_json, console)
        for policy, study in studies.items()
    }
    table = bandits.regret_table(runs)
    files = {"curves": str(write_parquet(table, out / "regret.parquet"))}
    if plot:
        files["picture"] = str(bandits.regret_plot(table, out / "regret.png"))
    final = bandits.final_table(table)
    if as_json:
        rows = json.loads(final.to_json(orient="records"))
        console.print_json(json.dumps({"env": env_id, "rounds": rounds, "policies": rows} | files))
    else:
        _show(final, env_id, rounds, files)


def _show(final: Any, env_id: str, rounds: int, files: dict[str, str]) -> None:
    """Print regrets at the last round, least feasible regret first."""
    from rich import box
    from rich.table import Table

    shown = Table(title=f"{env_id}, regret after {rounds} rounds", box=box.SIMPLE_HEAD)
    shown.add_column("policy")
    names = ("clairvoyant", "feasible", "observable")
    for heading in (*names, "median feasible"):
        shown.add_column(heading, justify="right")
    for _, row in final.iterrows():
        cells = []
        for name in names:
            column = f"regret_{name}"
            half = 0.5 * (row[f"{column}_high"] - row[f"{column}_low"])
            spread = f" ± {half:.3g}" if row["seeds"] > 1 else ""
            cells.append(f"{row[column]:.4g}{spread}")
        shown.add_row(row["policy"], *cells, f"{row['regret_feasible_median']:.4g}")
    console.print(shown)
    for what, path in files.items():
        console.print(f"{what.capitalize()}: {path}", soft_wrap=True, highlight=False)
