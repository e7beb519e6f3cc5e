"""`jaxecon mechanism`: learn mechanisms, and attack known ones."""

import json
import pathlib
from typing import Annotated, Any

import typer

from jaxecon.cli.options import Config, Json, Keywords, Numbers, Out, Overwrite, console, errors

app = typer.Typer(
    help="Learn mechanisms that leave liars little to gain, and attack known ones.",
    no_args_is_help=True,
)

ALLOCATION = (
    "expf",
    "expf_quadratic",
    "expf_quadratic_refill",
    "exs",
    "exs_refill",
    "regretnet_allocation",
)
AUCTION = ("regretnet", "regretnet_exchangeable", "rochetnet")
RULES = ("proportional_fairness", "partial_allocation", "equal_share", "serial")

Agents = Annotated[int, typer.Option("--agents", "--bidders", help="Agents, or bidders.", min=1)]
Resources = Annotated[
    int, typer.Option("--resources", "--items", help="Resources, or items.", min=1)
]


@app.command(
    epilog="Examples:  jaxecon mechanism train expf_quadratic    "
    "jaxecon mechanism train expf --agents 10 --resources 3 --plot    "
    "jaxecon mechanism train rochetnet --bidders 1 --items 2    "
    "jaxecon mechanism train regretnet --bidders 2 --items 2"
)
def train(
    kind: Annotated[
        str,
        typer.Argument(
            help=f"Allocation without money: {', '.join(ALLOCATION)}. Auctions: "
            f"{', '.join(AUCTION)}."
        ),
    ],
    agents: Annotated[
        int | None,
        typer.Option(
            "--agents",
            "--bidders",
            help="Agents, or bidders (default: 2; 1 for a menu).",
            min=1,
            show_default=False,
        ),
    ] = None,
    resources: Resources = 2,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of exploitability, one mechanism for each (default: 1,2,4,8,16); in "
            "auctions the first multiplier (default: the recipe's)."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Instances seen per mechanism (default: 51,200; in auctions 2,560,000).", min=1
        ),
    ] = None,
    judged: Annotated[
        int, typer.Option(help="Instances on which an auction's regret is bounded.", min=1)
    ] = 64,
    seeds: Annotated[int, typer.Option(help="Independent runs of each.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Seed that all random numbers follow from.")] = 0,
    set_: Numbers = None,
    config: Config = None,
    env: Keywords = None,
    plot: Annotated[bool, typer.Option("--plot", help="Say where the picture is.")] = False,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Learn mechanisms along the frontier between the designer's aim and honesty.

    Trains one mechanism per weight and seed in one compiled program and prints their frontier
    beside the known rules. The run folder keeps the picture, the table (results.parquet), every
    mechanism's parameters (`jaxecon.sweeps.load_mechanism`) and a report. Interrupted, the same
    command goes on.

    Of an auction, the revenue comes with two estimates of what lies gain a bidder: what the best
    misreports found gain, and what no misreport exceeds.
    """
    from jaxecon.cli.running import parse_assignments, run_with_progress, split_numbers

    _check_kind(kind)
    hparams, env_numbers = split_numbers(set_ or [])
    num_agents = agents or (1 if kind == "rochetnet" else 2)
    designer, static = _environment(kind, num_agents, resources)
    environment = {
        "id": designer,
        "static": static | parse_assignments(env or []),
        "params": env_numbers,
    }
    study = {
        "study": {
            "name": f"{kind}-{num_agents}x{resources}",
            "seed": seed,
            "num_seeds": seeds,
            "num_evaluations": 4,
            "sampler": "grid",
        },
        "env": environment,
    }
    settings = parse_assignments(config or [])
    _add_recipe(study, kind, num_agents, weights, steps, settings, hparams)
    run_dir = run_with_progress(study, out, overwrite, as_json, console)
    judgements = []
    if kind in AUCTION:
        from jaxecon.cli.attacking import judge_run

        errors.print("estimating what lies gain, from below and from above")
        judgements = judge_run(run_dir, environment, num_judged=judged)
    _show_frontier(run_dir, judgements, plot, as_json)


def _add_recipe(
    study: dict[str, Any],
    kind: str,
    num_agents: int,
    weights: str | None,
    steps: int | None,
    config: dict[str, Any],
    hparams: dict[str, float],
) -> None:
    """Put what a kind of mechanism learns well with into a study, and what the user has set."""
    from jaxecon.algos import recipe

    plan = recipe(kind, num_agents=num_agents, value_scale=study["env"]["params"].get("high", 1.0))
    first_weight = plan.hparams.pop("exploitability_weight", None)
    grid = [1.0, 2.0, 4.0, 8.0, 16.0] if first_weight is None else [first_weight]
    study["study"]["total_steps"] = plan.total_steps if steps is None else steps
    study["algorithm"] = {
        "id": "mechanism",
        "config": {"mechanism": kind} | plan.config | config,
        "hparams": plan.hparams | hparams,
    }
    study["search"] = {
        "exploitability_weight": {"grid": grid if weights is None else _numbers(weights)}
    }


def _check_kind(kind: str) -> None:
    from jaxecon.suggest import unknown_name

    if kind not in ALLOCATION + AUCTION:
        raise ValueError(unknown_name("mechanism", kind, ALLOCATION + AUCTION))


def _environment(kind: str, agents: int, resources: int) -> tuple[str, dict[str, Any]]:
    if kind in AUCTION:
        return "AuctionDesigner-v0", {"num_bidders": agents, "num_items": resources}
    return "AllocationDesigner-v0", {"num_claimants": agents, "num_resources": resources}


def _numbers(text: str) -> list[float]:
    """Comma-separated numbers."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--weights must be numbers such as 1,2,4; got {text!r}.") from None


def _show_frontier(
    run_dir: pathlib.Path, judgements: list[dict[str, Any]], plot: bool, as_json: bool
) -> None:
    """Write the report; print the frontier, and what auctions earn and what lies gain in them."""
    from jaxecon.sweeps import frontier, report

    path = report.write_report(run_dir)
    run = report.load_run(run_dir)
    picture = run_dir / "frontier.png"
    if as_json:
        points = [point._asdict() for point in frontier.frontier_points(run)]
        summary: dict[str, Any] = {"run": str(run_dir), "report": str(path)}
        summary |= {"picture": str(picture), "frontier": points, "auctions": judgements}
        console.print_json(json.dumps(summary | {"record": run.record}))
        return
    console.print(frontier.frontier_table(run))
    if judgements:
        console.print(_judgement_table(judgements))
    if plot:
        console.print(f"Picture: {picture}", soft_wrap=True, highlight=False)
    console.print(f"Report: {path}", soft_wrap=True, highlight=False)


def _judgement_table(judgements: list[dict[str, Any]]) -> Any:
    """One row per auction."""
    from rich.table import Table

    title = "Revenue on fresh bidders, and what lies gain a bidder [money]"
    table = Table(*(name.replace("_", " ") for name in judgements[0]), title=title)
    for row in judgements:
        cells = (f"{x:.6f}" if isinstance(x, float) else str(x) for x in row.values())
        table.add_row(*cells)
    return table


@app.command(
    epilog="Examples:  jaxecon mechanism attack proportional_fairness    "
    "jaxecon mechanism attack partial_allocation --private valuations"
)
def attack(
    rule: Annotated[str, typer.Argument(help=f"One of {', '.join(RULES)}.")],
    agents: Agents = 2,
    resources: Resources = 2,
    instances: Annotated[int, typer.Option(help="Instances drawn.", min=1)] = 256,
    private: Annotated[
        str, typer.Option(help="Fields that agents may misreport.")
    ] = "valuations,demands",
    restarts: Annotated[int, typer.Option(help="Starts of each ascent.", min=1)] = 16,
    steps: Annotated[int, typer.Option(help="Steps of each ascent.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed that all random numbers follow from.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure how much agents gain by lying to a known rule, on random instances."""
    from rich.table import Table

    from jaxecon.cli.attacking import attack_rule

    fields = tuple(name.strip() for name in private.split(","))
    row = attack_rule(
        rule,
        num_agents=agents,
        num_resources=resources,
        num_instances=instances,
        private=fields,
        num_restarts=restarts,
        num_steps=steps,
        seed=seed,
    )
    if as_json:
        console.print_json(json.dumps(row))
        return
    table = Table("property", "value", show_header=False)
    for name, value in row.items():
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    console.print(table)
