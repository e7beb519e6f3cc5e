"""`jaxecon allocate`: a comparison as JSON, Parquet and picture, from a user's own table too."""

import json

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from jaxecon.cli.allocate import allocate

app = typer.Typer()
app.command()(allocate)


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_users_table_is_compared_and_kept(tmp_path):
    table = tmp_path / "pantries.csv"
    table.write_text("site,mean,std,arrival_probability\na,10,2,0.5\nb,20,5,1\nc,5,1,0.2\n")
    result = run(
        "--demand", table, "--steps", 4, "--episodes", 16, "--rules", "saffe_d,greedy",
        "--plot", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (line,) = json.loads(result.output)
    assert [row["rule"] for row in line["rules"]] == ["saffe_d", "greedy"]
    kept = pd.read_parquet(line["table"])
    assert set(kept["rule"]) == {"saffe_d", "greedy"}
    paired = kept[(kept["rule"] == "saffe_d") & (kept["metric"] == "utilisation")].iloc[0]
    assert paired["difference"] == 0.0
    assert paired["low"] <= paired["mean"] <= paired["high"]
    assert (tmp_path / "out" / "pantries.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--setting", "sparce"], "Unknown setting 'sparce'"),
        (["--rules", "saffed"], "Did you mean 'saffe_d'"),
        (["--demand", "nowhere.csv"], "No table of sites"),
    ],
)
def test_mistakes_are_explained(arguments, message):
    result = run(*arguments, "--episodes", 4, "--agents", 3, "--steps", 2)
    assert message in str(result.exception)
