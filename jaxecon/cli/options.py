"""Options that several commands share, and where their output goes."""

import pathlib
from typing import Annotated

import typer
from rich.console import Console

console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Out = Annotated[
    pathlib.Path | None, typer.Option("--out", "-o", help="Run folder (default: runs/NAME).")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier run left in the folder.")
]
Numbers = Annotated[
    list[str] | None,
    typer.Option("--set", help="Hyperparameter or env.PARAMETER, as NAME=NUMBER."),
]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", help="Static algorithm setting, as NAME=VALUE."),
]
Keywords = Annotated[
    list[str] | None, typer.Option("--env", help="Keyword of jaxecon.make, as NAME=VALUE.")
]
