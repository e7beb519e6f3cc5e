"""The report: well-formed, self-contained, safe with odd names, and complete on small sweeps."""

import html.parser
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import rich.console

from jaxecon.sweeps import loading, plots, report, sensitivity, statistics, storage, words

VOID = {"meta", "img", "br", "hr", "link", "input"}
NAME = 'Costs & <script>alert("1")</script> $x$ 費用'
RECORD = {
    "started": "2025-01-01T00:00:00Z",
    "finished": "2025-01-01T00:03:20Z",
    "device": {"kind": "cpu", "count": 2},
    "versions": {"jax": "0.10.0"},
    "num_compilations": 1,
    "env_steps_per_second": 1234567.8,
    "wall_seconds": 200.0,
    "memory_bytes": None,
}


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page; unbalanced tags fail."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def sweep(
    num_configs=6, num_seeds=3, num_evaluations=3, diverged=(), splits=("validation", "test")
):
    generator = np.random.default_rng(0)
    rate = 10 ** generator.uniform(-4, -2, num_configs)
    rows = []
    for config, seed, evaluation in np.ndindex(num_configs, num_seeds, num_evaluations):
        row = {"config": config, "seed": seed, "evaluation": evaluation}
        row |= {"env_steps": 50_000 * (evaluation + 1), "hparam/learning_rate": rate[config]}
        row |= {"hparam/env.<b>cost": config % 2, "hparam/act": "relu"}
        for split in splits:
            score = config + evaluation + generator.normal(0, 0.1)
            row[f"{split}/sharpe"] = np.nan if config in diverged else score
            row[f"{split}/length"] = 252.0
        rows.append(row | {"train/entropy": 1.0})
    return pd.DataFrame(rows)


BASELINES = {
    "validation": {"1/N <i>": {"sharpe": 3.0, "length": 252}, "no sharpe": {"length": 1}},
    "test": {"1/N <i>": {"sharpe": 2.5}, "hold $1_{ or $2 費用": {"sharpe": 1.0}},
}


def write_run(path, results, baselines=BASELINES, name=NAME, record=RECORD, metric="sharpe"):
    path.mkdir(exist_ok=True)
    study = f"[study]\nname = {json.dumps(name)}\nseed = 0\n"
    study += f'metric = "{metric}"\n' if metric else ""
    (path / "study.toml").write_text(study, "utf-8")
    (path / "run.json").write_text(json.dumps(record))
    results.to_parquet(path / "results.parquet")
    if baselines is not None:
        (path / "baselines.json").write_text(json.dumps(baselines))
    return path


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run", sweep(diverged=(1,)))


def test_the_report_loads_nothing_and_runs_nothing(run_dir):
    path = report.write_report(run_dir)
    text = path.read_text("utf-8")
    page = Page(text)
    assert path == run_dir / "report.html"
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        if "src" in attributes:
            assert tag == "img"
            assert attributes["src"].startswith("data:image/png;base64,")
            assert attributes["alt"]
    assert not re.search(r"https?:|url\(|@import|href=", text)


def test_names_are_escaped_everywhere(run_dir):
    text = report.write_report(run_dir).read_text("utf-8")
    page = Page(text)
    assert NAME in page.text
    assert "<script" not in text
    assert "1/N <i>" in page.text
    assert "env.<b>cost" in page.text
    assert not {"i", "b"} & {tag for tag, _ in page.tags}


def test_the_report_says_what_was_found(run_dir):
    words = Page(report.write_report(run_dir).read_text("utf-8")).text
    board = report.rank_run(report.load_run(run_dir))
    best = board.iloc[0]
    assert best["config"] == 5
    interval = f"{best['test/sharpe_low']:.4g} to {best['test/sharpe_high']:.4g}"
    assert f"of {best['test/sharpe']:.4g} on test (95% CI {interval}, 3 seeds)" in words
    assert "strongest baseline there, 1/N <i>, reaches 2.5" in words
    assert "the whole interval lies above it" in words
    assert "ran 6 configurations with 3 seeds each, up to 150,000 environment steps" in words
    assert "1,234,568 environment steps per second over 3 min 20 s" in words
    assert "1 diverged" in words
    for heading in ("Leaderboard", "Baselines", "Sensitivity", "Run record", "Resolved study"):
        assert heading in words
    for leaf in ("device.kind", "versions.jax", "num_compilations", "length", "entropy"):
        assert leaf in words


@pytest.mark.parametrize(
    ("shape", "baselines"),
    [
        ({"num_seeds": 1}, BASELINES),
        ({"num_configs": 1}, None),
        ({"num_evaluations": 1}, {}),
        ({"num_configs": 1, "num_seeds": 1, "num_evaluations": 1}, None),
        ({"splits": ("validation",)}, BASELINES),
        ({"diverged": range(6)}, BASELINES),
        ({"num_configs": 30, "diverged": range(1, 30)}, {"test": {}}),
    ],
    ids=["one seed", "one config", "one evaluation", "one run", "no test", "all nan", "one sane"],
)
def test_small_and_broken_sweeps_get_a_report(tmp_path, shape, baselines):
    run_dir = write_run(tmp_path / "run", sweep(**shape), baselines)
    page = Page(report.write_report(run_dir).read_text("utf-8"))
    assert sum(tag == "img" for tag, _ in page.tags) == 3
    table = report.leaderboard_table(
        report.rank_run(report.load_run(run_dir)), baselines or {}, "sharpe"
    )
    assert table.row_count >= 1
    if shape.get("num_seeds") == 1:
        assert "one seed, so no interval" in page.text
    if "splits" in shape:
        assert "There is no test split" in page.text
    if len(shape.get("diverged", ())) == 6:
        assert "Every configuration diverged" in page.text
    if baselines is None:
        assert "recorded no baselines" in page.text


def test_a_sweep_without_hyperparameters_gets_a_report(tmp_path):
    results = sweep().filter(regex="^(?!hparam/)")
    results = results.rename(columns={"validation/sharpe": "validation/return"})
    results = results.rename(columns={"test/sharpe": "test/return"})
    run_dir = write_run(tmp_path / "run", results, metric=None)  # the metric is then "return"
    assert "No hyperparameter was swept" in Page(report.write_report(run_dir).read_text()).text


def test_reports_and_figures_are_reproducible_and_leave_no_litter(run_dir):
    def contents():
        return {path.name: path.read_bytes() for path in run_dir.iterdir()}

    report.write_report(run_dir)
    first = contents()
    report.write_report(run_dir)
    assert contents() == first
    figures = {"leaderboard.png", "learning_curves.png", "sensitivity.png"}
    given = {"study.toml", "run.json", "results.parquet", "baselines.json"}
    assert set(first) == figures | given | {"report.html"}
    assert all(first[name].startswith(b"\x89PNG") for name in figures)


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    storage.write_atomically(target, lambda path: path.write_bytes(b"old"))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(storage.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        storage.write_atomically(target, lambda path: path.write_bytes(b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert target.read_bytes() == b"old"


def test_the_terminal_table_holds_configurations_then_baselines(run_dir):
    run = report.load_run(run_dir)
    table = report.leaderboard_table(report.rank_run(run, top=2), run.baselines, run.metric)
    assert [*table.columns[1].cells][:3] == ["5", "4", "1/N <i>"]
    assert table.row_count == 2 + 3


def test_the_terminal_table_keeps_its_numbers_whole_on_a_narrow_terminal(run_dir):
    run = report.load_run(run_dir)
    board = report.rank_run(run, top=1)
    console = rich.console.Console(width=80, file=io.StringIO())
    console.print(report.leaderboard_table(board, {}, run.metric))
    half = (board["test/sharpe_high"][0] - board["test/sharpe_low"][0]) / 2
    printed = console.file.getvalue()
    assert f"{board['test/sharpe'][0]:.4g} ± {half:.2g}" in printed
    assert f"{board['validation/sharpe'][0]:.4g}" in printed
    assert "act relu" in printed


def test_load_run_returns_the_folder(run_dir):
    run = report.load_run(str(run_dir))
    assert (run.name, run.metric, run.split_report) == (NAME, "sharpe", "test")
    assert run.record == RECORD
    assert run.baselines["test"]["1/N <i>"] == {"sharpe": 2.5}
    pd.testing.assert_frame_equal(run.results, sweep(diverged=(1,)))
    (run_dir / "baselines.json").unlink()
    assert report.load_run(run_dir).baselines == {}


def test_a_missing_folder_and_a_foreign_folder_are_told_apart(tmp_path):
    with pytest.raises(loading.RunFolderError, match="There is no run folder"):
        report.load_run(tmp_path / "nothing")
    with pytest.raises(loading.RunFolderError, match=r"not a run folder: study\.toml is missing"):
        report.load_run(tmp_path)


@pytest.mark.parametrize("missing", ["results.parquet", "run.json"])
def test_an_unfinished_run_says_how_to_resume(run_dir, missing):
    (run_dir / missing).unlink()
    resume = rf"not finished \({missing} is missing\).*`jaxecon sweep .*study\.toml`"
    with pytest.raises(loading.RunFolderError, match=resume):
        report.load_run(run_dir)


def test_a_record_without_an_end_is_an_unfinished_run(tmp_path):
    run_dir = write_run(tmp_path / "run", sweep(), record={**RECORD, "finished": None})
    with pytest.raises(loading.RunFolderError, match=r"has not finished.*no finishing time"):
        report.load_run(run_dir)


@pytest.mark.parametrize("file", ["study.toml", "run.json", "results.parquet", "baselines.json"])
def test_an_unreadable_file_is_named(run_dir, file):
    (run_dir / file).write_bytes(b"[1, \xff")
    with pytest.raises(loading.RunFolderError, match=f"{file}' cannot be read"):
        report.load_run(run_dir)


def test_a_json_file_of_the_wrong_shape_is_named(run_dir):
    (run_dir / "baselines.json").write_text("[1]")
    with pytest.raises(loading.RunFolderError, match=r"baselines\.json' cannot be read.* list "):
        report.load_run(run_dir)


def test_a_table_that_cannot_be_reported_is_refused(tmp_path):
    cases = (
        (sweep().drop(columns="seed"), r"lacks the column\(s\) seed"),
        (sweep().head(0), "has no rows"),
        (sweep().drop(columns="validation/sharpe"), "Unknown metric 'sharpe'"),
    )
    for results, message in cases:
        run_dir = write_run(tmp_path / "run", results)
        with pytest.raises(loading.RunFolderError, match=message):
            report.load_run(run_dir)


def test_log_axes_are_for_values_spread_over_decades():
    generator = np.random.default_rng(0)
    uniform, exponent = generator.uniform(0.0, 0.01, 200), generator.uniform(-4, -2, 200)
    assert sensitivity.is_spread_over_decades(10**exponent)
    assert sensitivity.is_spread_over_decades(np.array([1e-4, 1e-3, 1e-2]))
    assert not sensitivity.is_spread_over_decades(uniform), "a few tiny draws are no log range"
    assert not sensitivity.is_spread_over_decades(10**exponent - 1e-3)
    assert not sensitivity.is_spread_over_decades(np.array([1.0, 2.0, 4.0]))
    assert not sensitivity.is_spread_over_decades(np.empty(0))


def test_figures_can_be_drawn_one_by_one(tmp_path):
    results = sweep(num_configs=12)
    board = statistics.leaderboard(results, "sharpe")
    for draw, table in (
        (plots.learning_curves, (results, board)),
        (sensitivity.sensitivity_plot, (results,)),
        (plots.leaderboard_plot, (board,)),
    ):
        path = draw(*table, "sharpe", tmp_path / f"{draw.__name__}.png")
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (np.float64(0.123456), "0.1235"),
        (np.int64(7), "7"),
        (1_500_000, "1,500,000"),
        (123456.7, "123,457"),
        (1e-7, "1e-07"),
        (True, "True"),
        (np.bool_(False), "False"),
        ("plain", "plain"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_values_are_shown_briefly(value, text):
    assert report.show(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.04, "42.0 s"), (200.0, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_read_as_words(seconds, text):
    assert words.duration(seconds) == text
