"""A killed sweep goes on where it was, and ends with the files of an uninterrupted one."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import tomllib

import jax
import numpy as np
import pytest

from jaxecon import sweeps
from jaxecon.sweeps import loading, report
from jaxecon.sweeps.storage import RunFolder
from jaxecon.sweeps.study import load_study

ROOT = pathlib.Path(__file__).parents[2]
STUDY = """
[study]
name = "resume"
total_steps = 192
num_evaluations = 3
num_configs = 10
num_seeds = 2
[env]
id = "Cournot-v0"
params = { max_steps_in_episode = 10 }
[algorithm]
config = { num_envs = 4, rollout_length = 16, hidden_sizes = [8], num_eval_episodes = 4 }
[search]
learning_rate = { log_uniform = [1e-4, 1e-2] }
[executor]
checkpoint_seconds = 0
"""


def changed(old, new):
    assert old in STUDY
    return load_study(tomllib.loads(STUDY.replace(old, new)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("resume")
    (path / "study.toml").write_text(STUDY)
    return path


def start(folder, out):
    """`python -m jaxecon sweep`; the first one compiles, the others read the cache."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    command = [sys.executable, "-m", "jaxecon", "sweep", str(folder / "study.toml")]
    return subprocess.Popen(
        [*command, "--out", str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def kill_when(process, condition):
    """SIGKILL at the first moment that `condition()` holds; it must come before the end."""
    deadline = time.monotonic() + 120
    try:
        while not condition():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.0005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def steps(run):
    """Numbers of the checkpoints in a run folder, those being written as -1."""
    names = [path.name for path in (run / "checkpoint").glob("*")]
    return [int(name) if name.isdigit() else -1 for name in names]


@pytest.fixture(scope="module")
def uninterrupted(folder):
    finish(start(folder, folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="module")
def resumed(folder, uninterrupted):
    """A run killed three times; after each kill the same command goes on."""
    run = folder / "killed"
    moments = [
        (run / "checkpoint").is_dir,  # before the first checkpoint is whole
        lambda: -1 in steps(run) and max(steps(run)) >= 5,  # while orbax writes
        lambda: len([step for step in steps(run) if step >= 12]) > 1,  # before it deletes the old
    ]
    for moment in moments:
        kill_when(start(folder, run), moment)
        assert not (run / "results.parquet").exists()
        with pytest.raises(loading.RunFolderError, match="jaxecon sweep"):
            report.load_run(run)
    finish(start(folder, run))
    return run


def test_the_results_are_those_of_the_uninterrupted_run_byte_for_byte(uninterrupted, resumed):
    name = "results.parquet"
    assert (resumed / name).read_bytes() == (uninterrupted / name).read_bytes()
    assert (resumed / "study.toml").read_bytes() == (uninterrupted / "study.toml").read_bytes()
    record = RunFolder.open(resumed).read_json("run.json")
    assert record["status"] == "finished"
    assert record["resumed"] == 3


def test_the_policies_are_those_of_the_uninterrupted_run(uninterrupted, resumed):
    for lane in range(20):
        pairs = zip(
            RunFolder.open(resumed).read_policy(lane),
            RunFolder.open(uninterrupted).read_policy(lane),
            strict=True,
        )
        for found, expected in pairs:
            np.testing.assert_array_equal(found, expected)


def test_nothing_half_written_is_left_under_its_name(resumed):
    files = {path.name for path in resumed.iterdir() if not path.name.startswith(".")}
    assert {"study.toml", "run.json", "results.parquet", "report.html", "baselines.json"} <= files
    assert len([step for step in steps(resumed) if step >= 0]) == 1, "one checkpoint is kept"
    assert -1 not in steps(resumed), "leftovers of killed saves are cleared away"


def test_a_finished_run_is_refused_with_a_way_out(folder, uninterrupted):
    study = load_study(folder / "study.toml")
    with pytest.raises(FileExistsError, match=r"finished.*jaxecon report .*--overwrite"):
        RunFolder(uninterrupted, study)
    RunFolder(uninterrupted, study, overwrite=True)  # deletes nothing before it is claimed
    assert (uninterrupted / "results.parquet").is_file()


def test_a_study_that_fails_to_compile_leaves_no_folder(tmp_path):
    study = changed("total_steps = 192", 'total_steps = 192\nmetric = "retrun"')
    with jax.numpy_dtype_promotion("standard"), pytest.raises(ValueError, match="'return'"):
        sweeps.run_study(study, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_study_is_refused_and_the_difference_named(uninterrupted):
    with pytest.raises(FileExistsError, match=r"study.total_steps is 192 there and 384 here"):
        RunFolder(uninterrupted, changed("total_steps = 192", "total_steps = 384"))
    with pytest.raises(FileExistsError, match=r"env.params .*10.* there and .*20.* here"):
        RunFolder(uninterrupted, changed("episode = 10", "episode = 20"))
    with pytest.raises(FileExistsError, match="finished"):  # how it is scheduled is no difference
        RunFolder(uninterrupted, changed("checkpoint_seconds = 0", "checkpoint_seconds = 5"))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    study = changed("num_seeds = 2", "num_seeds = 1")
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="is not a run folder"):
            RunFolder(tmp_path, study, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(FileExistsError, match="is not a run folder"):
        RunFolder(tmp_path / "thesis.txt", study)


def test_a_folder_killed_before_its_study_was_written_can_be_used(tmp_path):
    (tmp_path / ".study.toml.123.tmp").write_text("[stu")
    RunFolder(tmp_path, changed("num_seeds = 2", "num_seeds = 1")).claim()
    assert (tmp_path / "study.toml").is_file()


def test_a_run_killed_as_it_wrote_its_results_can_go_on(tmp_path, monkeypatch):
    """results.parquet is written last, so no folder is both finished and unreadable."""
    study = changed("num_configs = 10", "num_configs = 1")

    class Killed(BaseException):
        pass

    def killed(self, table):
        raise Killed

    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "write_results", killed)
            with pytest.raises(Killed):
                sweeps.run_study(study, tmp_path / "run")
        with pytest.raises(loading.RunFolderError, match=r"results.parquet is missing"):
            report.load_run(tmp_path / "run")
        sweeps.run_study(study, tmp_path / "run")
    assert report.load_run(tmp_path / "run").record["resumed"] == 1


def test_policies_of_narrower_waves_give_way(tmp_path):
    """A run resumed on more devices rewrites lanes in wider files; no stale one may shadow them."""
    run = RunFolder(tmp_path / "run", changed("num_seeds = 2", "num_seeds = 1")).claim()
    run.write_policies(2, [np.array([2.0, 3.0])])
    run.write_policies(4, [np.array([-4.0, -5.0])])
    run.write_policies(2, [np.array([2.0, 3.0, 4.0, 5.0])])
    run.write_policies(6, [np.array([6.0, 7.0])])
    assert [float(run.read_policy(lane)[0]) for lane in range(2, 8)] == [2, 3, 4, 5, 6, 7]
    with pytest.raises(FileNotFoundError, match="no policy of lane 1"):
        run.read_policy(1)
