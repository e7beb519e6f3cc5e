"""The project as a whole: imports point down, importing is cheap, documents and examples work."""

import ast
import importlib
import pathlib
import re
import subprocess
import sys
import tomllib
from itertools import chain

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "jaxecon"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    "distrax",
    "gymnax",
    "matplotlib",
    "orbax",
    "pandas",
    "scipy",
    "tensorflow_probability",
)

# What each part may import besides itself and the parts that everyone may use.
ANYONE = {"types", "suggest", "devices"}
ENVS = {"mechanisms", "data", "solvers", "econ", "symmetry"}
ALGOS = {"envs", "networks"} | ENVS
LAYERS = {
    "types": set(),
    "suggest": set(),
    "devices": set(),
    "econ": set(),
    "symmetry": set(),
    "solvers": {"econ"},
    "data": {"solvers", "econ"},
    "mechanisms": {"solvers", "econ"},
    "envs": ENVS,
    "networks": {"envs"} | ENVS,
    "algos": ALGOS,
    "sequences": ALGOS,
    "interop": ALGOS,
    "testing": ALGOS | {"interop"},
    "benchmark": ALGOS | {"algos", "interop"},
    "sweeps": ALGOS | {"algos", "sequences"},
    "cli": ALGOS | {"algos", "sequences", "sweeps", "benchmark"},
    "__main__": {"cli"},
}
CONTRACT = {"jaxecon.envs"} | {
    f"jaxecon.envs.{name}" for name in ("applicability", "base", "autoreset", "wrappers")
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path):
    """Full names of the jaxecon modules and attributes that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer they reach"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "jaxecon"}


def requirement_name(requirement):
    return re.split(r"[\s\[<>=!~;]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} needs a docstring"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path != PACKAGE / "__init__.py"], ids=module_name
)
def test_imports_point_down(path):
    layer = module_name(path).split(".")[1]
    allowed = LAYERS[layer] | ANYONE | {layer}
    reached = {name.split(".")[1] for name in imported_modules(path) if "." in name}
    above = reached & LAYERS.keys() - allowed
    assert not above, f"{module_name(path)} imports {sorted(above)}, which lie above {layer}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "algos").glob("**/*.py")), ids=module_name)
def test_algorithms_know_the_contract_and_no_environment(path):
    modules = {name for name in imported_modules(path) if name.startswith("jaxecon.envs")}
    for name in modules:
        known = name in CONTRACT or name.rpartition(".")[0] in CONTRACT - {"jaxecon.envs"}
        assert known, f"{module_name(path)} imports {name}, not the contract"


def test_importing_the_package_loads_nothing_heavy_and_starts_no_backend():
    program = f"""
import sys
import jaxecon
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
bridge = sys.modules.get("jax._src.xla_bridge")
started = getattr(bridge, "backends_are_initialized", lambda: False)
assert not started(), "a jax backend has started"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_can_be_reached():
    jaxecon = importlib.import_module("jaxecon")
    for name in jaxecon.__all__:
        assert getattr(jaxecon, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        jaxecon.nothing  # noqa: B018  # the access itself is under test


def test_constraints_pin_every_dependency_and_name_no_address():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in pins)
    pinned = {requirement_name(line) for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {requirement_name(line) for line in wanted} <= pinned


def code_blocks(document, language):
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_has_two_commands_and_its_links_lead_somewhere():
    commands = code_blocks("README.md", "bash")
    assert len(commands) == 2
    assert commands[0].rstrip().endswith("jaxecon sweep examples/sp500.toml")
    assert commands[1].rstrip().endswith("-m pytest")
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
        near = document.parent
        missing = [link for link in links if "://" not in link and not (near / link).exists()]
        assert not missing, f"{document} links to {missing}"


@pytest.mark.parametrize("index", range(5))
def test_the_readme_snippets_run(index, standard_promotion):
    snippets = code_blocks("README.md", "python")
    assert len(snippets) == 5, "give every snippet its case here"
    exec(compile(snippets[index], f"README.md, snippet {index}", "exec"), {})


def test_the_symmetry_that_the_document_declares_fits(standard_promotion):
    from jaxecon.testing import check_environment

    (snippet,) = code_blocks("docs/symmetry.md", "python")
    names = {"__name__": "document"}
    exec(compile(snippet, "docs/symmetry.md", "exec"), names)
    check_environment(names["env"], checks=["symmetry_sizes"], num_steps=8)


def test_the_example_of_contributing_keeps_the_contract(tmp_path, monkeypatch):
    from jaxecon.testing import check_environment

    module, _, test = code_blocks("CONTRIBUTING.md", "python")
    (tmp_path / "cake_of_contributing.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    cake = importlib.import_module("cake_of_contributing")
    monkeypatch.setitem(sys.modules, "jaxecon.envs.control.cake", cake)
    check_environment(cake.CakeEating())
    names = {}
    exec(compile(test, "CONTRIBUTING.md", "exec"), names)
    import jax

    names["test_equal_slices_reach_the_closed_form"](jax.random.key(0))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").rglob("*.toml")), ids=lambda path: path.stem
)
def test_every_example_study_can_be_planned(path):
    from jaxecon.sweeps.arms import arm_studies
    from jaxecon.sweeps.plan import make_plan
    from jaxecon.sweeps.study import load_study

    study = load_study(path)
    assert make_plan(study).num_lanes >= 1
    assert [*arm_studies(study)] == [*study.arms]
