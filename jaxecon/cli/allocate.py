"""`jaxecon allocate`: compare rules that divide a budget among agents who arrive over time."""

import json
import pathlib
from typing import Annotated, Any

import typer

from jaxecon.cli.options import Json, Numbers, console

SHOWN = ("max_deviation", "mean_deviation", "utilisation", "log_nash_gap", "min_log_fill")


def allocate(
    setting: Annotated[
        str,
        typer.Option(
            help="dense_symmetric, dense_asymmetric, sparse_symmetric, sparse_asymmetric, "
            "food_bank or family; dense, sparse or all for several."
        ),
    ] = "sparse",
    demand: Annotated[
        pathlib.Path | None,
        typer.Option(help="CSV of your own: site, mean, std, optional arrival_probability."),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Draws of demand, common to all rules.", min=2)] = (
        2000
    ),
    agents: Annotated[int, typer.Option(help="Agents, without --demand.", min=1)] = 20,
    steps: Annotated[int, typer.Option(help="Steps per episode.", min=1)] = 40,
    rules: Annotated[str | None, typer.Option(help="Comma-separated rules (default: all).")] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Run folder of a study on SequentialAllocation-v0 with as many agents; its best "
            "policy plays the same draws. RUN:CONFIG for another. Repeatable."
        ),
    ] = None,
    law: Annotated[
        str, typer.Option(help="Of request sizes: gaussian, poisson or shifted_poisson.")
    ] = "gaussian",
    fill_rule: Annotated[str, typer.Option(help="per_step or arrival_carry.")] = "per_step",
    scarcity: Annotated[float, typer.Option(help="Budget over expected demand.", min=0.0)] = 0.5,
    season: Annotated[float, typer.Option(help="Amplitude of arrivals' season, 0 to 1.")] = 0.0,
    set_: Numbers = None,
    seed: Annotated[int, typer.Option(help="Seed that all random numbers follow from.")] = 0,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a picture of each setting.")] = False,
    out: Annotated[
        pathlib.Path, typer.Option("--out", "-o", help="Folder of tables and pictures.")
    ] = pathlib.Path("runs/allocate"),
    as_json: Json = False,
) -> None:
    """Compare rules for dividing a budget among agents whose demands arrive over time.

    Every rule sees the same draws; tunable ones are tuned on others first. Prints means, and keeps
    the table with 95% intervals, also of the differences from SAFFE-D, as Parquet in the folder.
    """
    from jaxecon.cli.running import split_numbers
    from jaxecon.envs.allocation.settings import GROUPS, make_sequential_allocation
    from jaxecon.sweeps import allocation
    from jaxecon.sweeps.storage import write_parquet

    numbers, env_numbers = split_numbers(set_ or [])
    numbers |= env_numbers
    names = [rule.strip() for rule in rules.split(",")] if rules else None
    policies = dict(_load_policy(given) for given in policy or [])
    settings = GROUPS.get(setting, (setting,)) if demand is None else (demand.stem,)
    lines = []
    for name in settings:
        structure: dict[str, Any] = {"law": law, "fill_rule": fill_rule, **numbers}
        structure |= {"setting": name} if demand is None else {"demand": demand}
        env, env_params = make_sequential_allocation(
            num_agents=agents, num_steps=steps, scarcity=scarcity, season=season, seed=seed,
            **structure,
        )  # fmt: skip
        table = allocation.compare(
            env, env_params, rules=names, policies=policies, num_episodes=episodes, seed=seed
        )
        files = {"table": str(write_parquet(table, out / f"{name}.parquet"))}
        if plot:
            files["picture"] = str(allocation.comparison_plot(table, out / f"{name}.png"))
        if as_json:
            rows = json.loads(allocation.wide_table(table).reset_index().to_json(orient="records"))
            lines.append({"setting": name, "episodes": episodes, "rules": rows} | files)
        else:
            _show(name, table, episodes, files)
    if as_json:
        console.print_json(json.dumps(lines))


def _load_policy(given: str) -> tuple[str, Any]:
    """Name and policy of RUN or RUN:CONFIG."""
    from jaxecon.sweeps.allocation import load_allocator

    folder, _, config = given.rpartition(":")
    if not folder or not config.isdigit():
        folder, config = given, ""
    name = pathlib.Path(folder).name + (f":{config}" if config else "")
    return name, load_allocator(folder, int(config) if config else None)


def _show(setting: str, table: Any, episodes: int, files: dict[str, str]) -> None:
    """Print one setting's means, best log Nash gap first."""
    from rich import box
    from rich.table import Table

    from jaxecon.sweeps.allocation import wide_table

    shown = Table(title=f"{setting}, means over {episodes} episodes", box=box.SIMPLE_HEAD)
    shown.add_column("rule")
    for heading in ("strength", *SHOWN):
        shown.add_column(heading.replace("_", " "), justify="right")
    for rule, row in wide_table(table).iterrows():
        shown.add_row(str(rule), *(f"{row[name]:.4g}" for name in ("strength", *SHOWN)))
    console.print(shown)
    for what, path in files.items():
        console.print(f"{what.capitalize()}: {path}", soft_wrap=True, highlight=False)
