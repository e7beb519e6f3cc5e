"""What a study says about symmetry: numbers of saved policies, words for groups, and the figure."""

import json
import shutil
import types

import jax
import numpy as np
import pytest

from jaxecon import sweeps
from jaxecon.networks.counting import count_parameters
from jaxecon.networks.policy import make_actor_critic
from jaxecon.sweeps import loading, plots, report, symmetry, symmetry_figure
from jaxecon.sweeps.kept import kept_in_words
from jaxecon.sweeps.statistics import mean_interval
from jaxecon.sweeps.trained import count_weights, load_lane, load_relaxed_weights
from jaxecon.symmetry import (
    SymmetrySpec,
    components,
    copies,
    cyclic,
    determinant,
    dihedral,
    from_generators,
    outer,
    permutation,
    product,
    regular,
    relaxed_weight_spectrum,
    relaxed_weight_spread,
    sign,
    standard,
    symmetric,
    z2,
)

CONFIG = {
    "num_envs": 4,
    "rollout_length": 16,
    "num_minibatches": 1,
    "hidden_sizes": [4],
    "activation": "tanh",
    "num_eval_episodes": 4,
}
TABLES = {
    "study": {
        "name": "broken",
        "num_seeds": 2,
        "total_steps": 256,
        "num_evaluations": 2,
        "sampler": "grid",
    },
    "env": {"id": "PlantedSymmetryMarket-v0", "static": {"window": 2}},
    "algorithm": {
        "config": CONFIG | {"network": "relaxed", "num_banks": 2},
        "hparams": {"learning_rate": 0.03, "gamma": 0.0},
    },
    "search": {"env.break_strength": {"grid": [0.0, 1.0]}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sweeps.run_study(sweeps.load_study(TABLES), tmp_path_factory.mktemp("runs") / "broken")


@pytest.fixture(scope="module")
def numbers(folder):
    return json.loads((folder / "symmetry.json").read_text())


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copied")


def test_the_numbers_are_those_of_the_saved_policies(folder, numbers):
    group = product(z2(), cyclic(4))
    assert (numbers["network"], numbers["order"]) == ("relaxed", 8)
    assert [c["rank"] for c in numbers["components"]] == [c.rank for c in components(group)]
    assert numbers["layers"] == ["actor/Lift_0", "actor/VectorHead_0"], "critics do not act"
    for config, entry in enumerate(numbers["configurations"]):
        assert entry["values"] == {"env.break_strength": float(config)}
        shares, spreads = [], []
        for seed in range(2):
            _, policy, _ = load_lane(folder, config, seed)
            spread = relaxed_weight_spread(policy.params)
            spreads.append([spread[layer] for layer in numbers["layers"]])
            power = np.zeros(6)
            for layer in ("Lift_0", "VectorHead_0"):
                for bank in policy.params["actor"][layer]["relax_w"]:
                    share = relaxed_weight_spectrum(group, jax.numpy.asarray(bank))
                    power += np.asarray(share, np.float64) * np.square(bank).sum()
            shares.append(power / power.sum())
        for component, found in enumerate(entry["shares"]):
            expected = mean_interval(np.array(shares)[:, component])
            np.testing.assert_allclose([*found.values()], expected, rtol=1e-4, atol=1e-6)  # float32
        broken = mean_interval(np.array(shares)[:, 1:].sum(axis=1))
        np.testing.assert_allclose([*entry["broken"].values()], broken, rtol=1e-4, atol=1e-6)
        measured = [entry["spread"][layer]["mean"] for layer in numbers["layers"]]
        np.testing.assert_allclose(measured, np.mean(spreads, axis=0), rtol=1e-5)
        assert entry["broken"]["mean"] > 1e-4, "weights have moved"


def test_the_figure_is_in_the_folder_and_in_the_report(copied):
    before = (copied / "symmetry.png").read_bytes()
    assert before.startswith(b"\x89PNG")
    (copied / "symmetry.png").unlink()
    assert sweeps.symmetry_plot(copied) == copied / "symmetry.png"
    assert (copied / "symmetry.png").read_bytes() == before
    assert "<h2>Symmetry</h2>" in report.write_report(copied).read_text("utf-8")


def test_numbers_outlive_the_policies_that_they_were_measured_on(copied):
    shutil.rmtree(copied / "policies")
    before = (copied / "symmetry.json").read_bytes()
    assert sweeps.symmetry_plot(copied) is not None
    assert (copied / "symmetry.json").read_bytes() == before
    (copied / "symmetry.json").unlink()
    with pytest.raises(FileNotFoundError, match="lacks policies"):
        sweeps.symmetry_plot(copied)
    assert "<h2>Symmetry</h2>" not in report.write_report(copied).read_text("utf-8")


def test_leaves_of_all_lanes_are_those_of_each(folder):
    plan, weights = load_relaxed_weights(folder)
    assert set(weights) == {
        f"{tower}/{layer}" for tower in ("actor", "critic") for layer in ("Lift_0", "VectorHead_0")
    }
    for config, seed in np.ndindex(2, 2):
        _, policy, _ = load_lane(folder, config, seed)
        for layer, found in weights.items():
            tower, name = layer.split("/")
            np.testing.assert_array_equal(
                found[config, seed], policy.params[tower][name]["relax_w"]
            )
    assert plan.num_lanes == 4


def test_baselines_are_those_of_each_economy(folder):
    by_config = json.loads((folder / "baselines_by_config.json").read_text())
    plan, _ = load_relaxed_weights(folder)
    for config, strength in enumerate((0.0, 1.0)):
        params = plan.splits["test"].replace(break_strength=strength)
        expected = float(plan.env.optimal_reward(params)) * params.max_steps_in_episode
        found = by_config[config]["test"]["optimal"]["return"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    shared = json.loads((folder / "baselines.json").read_text())
    assert shared == by_config[0]


def test_the_record_counts_the_weights_of_policy_and_value(folder):
    plan, _ = load_relaxed_weights(folder)
    params = plan.splits["train"]
    network = make_actor_critic(plan.env, params, (4,), "tanh", "relaxed", 2)
    expected = count_parameters(network)
    assert loading.load_run(folder).record["num_weights"] == expected
    page = report.write_report(folder).read_text("utf-8")
    assert f"Each run trains {expected} weights." in page
    assert count_weights({"no": "network"}) is None


def test_gains_of_sets_are_measured_by_element(copied, monkeypatch):
    """(1, 2, 3) is (1/2, 1, 3/2) of its mean, and (6, 6, 6) is (1, 1, 1): their mean is found."""
    saved = {
        "actor/Gain_0": np.array([1.0, 2.0, 3.0], np.float32),
        "actor/Gain_1": np.array([6.0, 6.0, 6.0], np.float32),
        "critic/Gain_0": np.array([9.0, 0.0, 0.0], np.float32),
    }
    weights = {layer: np.broadcast_to(w, (2, 1, 1, 3)) for layer, w in saved.items()}
    algorithm = types.SimpleNamespace(config={"network": "relaxed_sets"})
    plan = types.SimpleNamespace(
        study=types.SimpleNamespace(algorithm=algorithm), configurations={"x": np.arange(2.0)}
    )
    monkeypatch.setattr(symmetry, "load_relaxed_weights", lambda _: (plan, weights))
    sweeps.symmetry_plot(copied)
    numbers = json.loads((copied / "symmetry.json").read_text())
    assert (numbers["group"], numbers["components"], numbers["order"]) == (None, [], 3)
    for entry in numbers["configurations"]:
        np.testing.assert_allclose([g["mean"] for g in entry["gains"]], [0.75, 1.0, 1.25])
        assert {gain["low"] for gain in entry["gains"]} == {None}, "one seed has no interval"
        spread = [layer["mean"] for layer in entry["spread"].values()]
        np.testing.assert_allclose(spread, [(2.0 / 3.0) ** 0.5 / 2.0, 0.0], rtol=1e-6)


def spec_of(rep):
    return SymmetrySpec(rep.group, ((slice(0, rep.dimension), 1, rep),), rep)


D4 = dihedral(4)
QUATERNIONS = from_generators(
    [
        np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]]),
        np.array([[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]]),
    ],
    "Q8",
)
WORDS = {
    "signed shifts": (
        outer(sign(z2()), permutation(cyclic(4))),
        [
            "keeps shifts, breaks sign",
            "keeps sign and even shifts",
            "keeps even shifts and odd shifts with sign change",
            "keeps sign, breaks shifts",
            "keeps the shift by 2 with sign change",
        ],
    ),
    "two assets": (
        outer(sign(z2()), permutation(cyclic(2))),
        [
            "keeps shifts, breaks sign",
            "keeps sign, breaks shifts",
            "keeps odd shifts with sign change",
        ],
    ),
    "three assets": (
        outer(sign(z2()), permutation(cyclic(3))),
        ["keeps shifts, breaks sign", "breaks sign and shifts", "keeps sign, breaks shifts"],
    ),
    "shifts": (
        permutation(cyclic(6)),
        ["keeps even shifts", "breaks shifts", "keeps the shift by 3"],
    ),
    "nine assets": (permutation(cyclic(9)), ["keeps shifts by multiples of 3", "breaks shifts"]),
    "mirror": (sign(z2()), ["breaks mirror"]),
    "turns": (standard(cyclic(4)), ["keeps turns by 180°", "breaks turns"]),
    "turns and mirrors": (
        standard(D4),
        [
            "keeps turns, breaks mirrors",
            "keeps turns by 180° and mirrors at 0°, 90°",
            "keeps turns by 180° and mirrors at 45°, 135°",
            "breaks turns and mirrors",
        ],
    ),
    "torques": (
        copies(determinant(standard(dihedral(2))), 2),
        [
            "keeps turns, breaks mirrors",
            "keeps mirrors at 0°, breaks turns",
            "keeps mirrors at 90°, breaks turns",
        ],
    ),
    "relabellings": (
        permutation(symmetric(4)),
        ["keeps even relabellings, breaks odd ones", "keeps double swaps",
         "breaks all relabellings"],
    ),
    "quaternions": (
        regular(QUATERNIONS),
        ["kept: 0, 3, 4, 5", "keeps nothing"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rep", "words"), WORDS.values(), ids=WORDS)
def test_what_a_component_keeps_is_said_in_words(rep, words):
    spec = spec_of(rep)
    found = {c.kernel: kept_in_words(spec, c.kernel) for c in components(spec.group)}
    said = [*found.values()]
    assert said[0] == "keeps all"
    assert len(set(said)) == len(said), "different subgroups have different words"
    assert set(words) <= set(said[1:])
    if len(words) != len(said) - 1:
        assert rep.group == QUATERNIONS


def test_many_configurations_are_thinned_evenly():
    assert symmetry_figure.evenly_chosen(range(3), 6) == [0, 1, 2]
    assert symmetry_figure.evenly_chosen(range(11), 6) == [0, 2, 4, 6, 8, 10]
    assert symmetry_figure.evenly_chosen(range(100), 6)[-1] == 99


def test_small_parts_of_a_large_group_are_drawn_together(tmp_path):
    """C24 has 13 components, whose kernels are the multiples of the 8 divisors of 24."""
    spec = spec_of(permutation(cyclic(24)))
    about = symmetry._about_components(spec)
    whole = {"mean": 0.12, "low": None, "high": None}
    shares = [{"mean": 0.88}] + [{"mean": 0.01}] * 12
    shown = [{"config": c, "values": {}, "broken": whole, "shares": shares} for c in range(2)]
    shown[1] = shown[1] | {"shares": [{"mean": None}] * 13}  # it diverged
    figure = plots.new_figure(4.0, 4.0)
    axes = figure.subplots()
    symmetry_figure._draw_shares(axes, shown, about)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "2 others" in labels
    assert "breaks shifts" in labels
    tops = [bar.get_y() + bar.get_height() for bars in axes.containers for bar in bars]
    np.testing.assert_allclose(np.nanmax(tops), 12.0, rtol=1e-6)
    assert plots.save_figure(figure, tmp_path / "large.png").stat().st_size > 0
