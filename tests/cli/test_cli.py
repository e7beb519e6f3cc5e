"""The command line: help with examples, JSON for programs, mistakes without a traceback."""

import json
import subprocess
import sys

import pytest

import jaxecon
from jaxecon import sweeps

COMMANDS = ["envs", "train", "sweep", "report", "bench"]
SMALL = ["--config", "num_envs=4", "--config", "rollout_length=16", "--config", "hidden_sizes=[8]"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(jaxecon_command, command):
    status, out, _ = jaxecon_command(command, "--help")
    assert status == 0
    assert "Examples:" in out
    assert f"jaxecon {command}" in out


def test_version(jaxecon_command):
    assert jaxecon_command("--version") == (0, f"{jaxecon.__version__}\n", "")


def test_environments_are_listed_and_described(jaxecon_command):
    status, out, _ = jaxecon_command("envs")
    assert status == 0
    assert all(env_id in out for env_id in jaxecon.list_environments())
    listed = json.loads(jaxecon_command("envs", "--json")[1])
    assert [row["id"] for row in listed] == jaxecon.list_environments()
    described = json.loads(jaxecon_command("envs", "Cournot-v0", "--json")[1])
    assert described["agents"] == described["static num_firms"] == "2"
    assert "env.unit_cost" in described


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["envs", "Cournt-v0"], "Did you mean 'Cournot-v0'"),
        (["train", "Cournt-v0"], "Did you mean 'Cournot-v0'"),
        (["bench", "Cournt-v0"], "Did you mean 'Cournot-v0'"),
        (["sweep", "absent.toml"], "No study file at 'absent.toml'"),
        (["report", "absent"], "There is no run folder 'absent'"),
        (["train", "Cournot-v0", "--set", "gama=0.9"], "Did you mean 'gamma'"),
        (["train", "Cournot-v0", "--set", "gamma=high"], "gamma must be a number, got 'high'"),
        (["train", "Cournot-v0", "--set", "gamma"], "'gamma' must have the form NAME=VALUE"),
        (["train", "Cournot-v0", "--set", "gamma=1.5"], "gamma must be at least 0 and at most 1"),
        (["train", "Cournot-v0", "--set", "env.unit_cst=1"], "Did you mean 'unit_cost'"),
        (["train", "Cournot-v0", "--config", "num_envs=many"], "num_envs: .*got 'many'"),
        (["train", "Cournot-v0", "--config", "num_env=4"], "Did you mean 'num_envs'"),
        (["train", "Cournot-v0", "--env", "num_firm=4"], "Did you mean 'num_firms'"),
        (["train", "Cournot-v0", "--env", "num_firms=abc"], "num_firms must be a whole number"),
    ],
)
def test_a_mistake_is_named_without_a_traceback(
    jaxecon_command, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    status, out, err = jaxecon_command(*arguments)
    assert status == 1
    assert "Traceback" not in out + err
    assert err.startswith("error: ")
    with pytest.raises(ValueError, match=message):
        raise ValueError(err)
    assert not list(tmp_path.iterdir()), "a mistake must not leave a run folder behind"


def test_a_missing_price_is_named_by_row_and_column(jaxecon_command, tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text("date,AAA,BBB\n2020-01-02,1,2\n2020-01-03,1.1,\n2020-01-06,1.2,2.2\n")
    status, _, err = jaxecon_command("train", "PortfolioTrading-v0", "--env", f"prices={file}")
    assert status == 1
    assert "BBB" in err
    assert "2020-01-03" in err or "line 3" in err


def test_training_prints_json_and_its_folder_reports(jaxecon_command, tmp_path):
    run = tmp_path / "run"
    arguments = ["Newsvendor-v0", "--steps", 128, "--evaluations", 2, "--out", run, *SMALL]
    status, out, _ = jaxecon_command("train", *arguments, "--json")
    assert status == 0
    summary = json.loads(out)
    assert summary["record"]["num_compilations"] == 1
    assert len(summary["leaderboard"]) == 1
    assert (run / "report.html").is_file()

    status, _, err = jaxecon_command("train", *arguments)
    assert status == 1
    assert "--overwrite" in err
    status, out, _ = jaxecon_command("report", run, "--json")
    assert status == 0
    assert json.loads(out)["leaderboard"] == summary["leaderboard"]


def test_an_interrupted_run_says_how_to_go_on(jaxecon_command, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "run_study", interrupted)
    status, out, _ = jaxecon_command("train", "Newsvendor-v0", "--out", tmp_path / "run")
    assert status == 130
    assert "run the same command" in out


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "jaxecon", "envs", "Cournt-v0"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "Did you mean 'Cournot-v0'" in ran.stderr
    assert "Traceback" not in ran.stderr


ARMS = """
[study]
name = "arms"
num_seeds = 2
total_steps = 32

[env]
id = "Newsvendor-v0"

[algorithm.config]
num_envs = 4
rollout_length = 8
num_minibatches = 1
hidden_sizes = [4]
num_eval_episodes = 4

[arms.narrow]

[arms.wide.algorithm.config]
hidden_sizes = [8]
"""


def test_a_study_with_arms_prints_and_draws_their_comparison(jaxecon_command, tmp_path):
    (tmp_path / "arms.toml").write_text(ARMS)
    out = tmp_path / "run"
    status, text, _ = jaxecon_command("sweep", tmp_path / "arms.toml", "--out", out)
    assert status == 0
    assert "narrow" in text
    assert "wide" in text
    status, text, _ = jaxecon_command("report", out, "--json")
    told = json.loads(text)
    assert [row["arm"] for row in told["arms"]] == ["narrow", "wide"]
    assert told["selected"] == [], "one configuration leaves nothing to select"
    narrow, wide = (row["weights"] for row in told["arms"])
    assert f"narrow {narrow}, wide {wide}" in told["note"]
    for name in ("arms.png", "arms.parquet", "narrow/report.html", "wide/results.parquet"):
        assert (out / name).stat().st_size > 0
