"""Imports run one way, files are touched at the rim, and importing has no effect."""

import ast
import graphlib
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = ("microstructure", "solver", "inverse")
OURS = (*LIBRARY, "mesode", "benchmarks", "tests")
RIM = ("mesode", "benchmarks", "tests")

ALLOWED = {
    "microstructure": {"microstructure"},
    "solver": {"microstructure", "solver"},
    "inverse": {"microstructure", "solver", "inverse"},
    "mesode": {"microstructure", "solver", "inverse", "mesode", "benchmarks"},
    "benchmarks": {"microstructure", "solver", "inverse", "mesode", "benchmarks"},
    "tests": set(OURS),
}
# Rooms of one floor do not know each other; particles may use the numerics beside them.
FLOORS = {"numerics": 0, "particles": 1, "transport": 2, "electrochemistry": 2, "process": 3, "cell": 3}
TOP = 4  # modules of `solver` itself: the hand-over and the pipeline

FILE_ROOMS = {f"microstructure/{name}.py" for name in ("store", "images", "mesh")}
FILE_FOLDER = "microstructure/exchange/"
FILE_MODULES = {"h5py", "tifffile", "meshio", "pathlib", "os", "io", "shutil", "tempfile", "csv", "pickle", "zipfile"}
FILE_CALLS = re.compile(r"^(open|(np|numpy|jnp)\.(load|loadtxt|genfromtxt|fromfile|memmap|save\w*))$|\.tofile$")


def _dotted(node) -> str:
    """`a.b.c` as text, or what follows the last thing that is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _imports(path: str, tree) -> list[str]:
    """The dotted names of all that a module imports, relative ones resolved, wherever the statement stands."""
    package = path.removesuffix(".py").split("/")[:-1]
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, node.module] if node.module else base
            names += [".".join([*base, alias.name]) for alias in node.names]
    return names


def _room(module: str) -> str | None:
    """The room of a dotted name inside `solver`, None for the modules on top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else None


def _arrow_violations(path: str, imports) -> list[str]:
    package, module = path.split("/")[0], path.removesuffix(".py").replace("/", ".")
    out = [f"{path} imports {name}" for name in imports if name.split(".")[0] in set(OURS) - ALLOWED[package]]
    if package != "solver":
        return out
    here = _room(module)
    for name in (n for n in imports if n.split(".")[0] == "solver"):
        there = _room(name)
        floor, other = FLOORS.get(here, TOP), FLOORS.get(there, TOP)
        if other > floor or (other == floor and here != there):
            out.append(f"{path} imports {name}, which is not below it")
    return out


def _file_violations(path: str, tree, imports) -> list[str]:
    if path.split("/")[0] in RIM or path in FILE_ROOMS or path.startswith(FILE_FOLDER):
        return []
    out = [f"{path} imports {name}, and so touches files" for name in imports if name.split(".")[0] in FILE_MODULES]
    calls = (_dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return out + [f"{path} calls {name}, and so touches files" for name in calls if FILE_CALLS.search(name)]


def _config_violations(path: str, tree, imports) -> list[str]:
    if path.split("/")[0] in RIM:
        return []
    touched = any(isinstance(n, ast.Attribute) and _dotted(n).startswith("jax.config") for n in ast.walk(tree))
    touched = touched or any(name.startswith("jax.config") for name in imports)
    return [f"{path} touches jax.config"] if touched else []


def violations(path: str, source: str) -> list[str]:
    """Every rule of the house that the module at `path`, relative to the repository, breaks."""
    tree = ast.parse(source)
    imports = _imports(path, tree)
    return (
        _arrow_violations(path, imports)
        + _file_violations(path, tree, imports)
        + _config_violations(path, tree, imports)
    )


def modules(*packages: str) -> dict[str, str]:
    """Source by path of all modules of the packages."""
    files = [file for package in packages for file in sorted((ROOT / package).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


@pytest.mark.parametrize("package", OURS)
def test_the_house_keeps_its_rules(package):
    found = modules(package)
    assert found
    assert [v for path, source in found.items() for v in violations(path, source)] == []


BAD = {
    "upwards": ("microstructure/a.py", "import solver.numerics.flux"),
    "upwards, inside a function": ("microstructure/a.py", "def f():\n    from solver import pipeline"),
    "library to rim": ("solver/a.py", "from mesode.job import Job"),
    "solver to inverse": ("solver/cell/a.py", "from inverse import space"),
    "inverse to rim": ("inverse/a.py", "import mesode"),
    "rim to tests": ("mesode/a.py", "import tests.conftest"),
    "benchmarks to tests": ("benchmarks/a.py", "from tests import conftest"),
    "numerics to particles": ("solver/numerics/a.py", "from solver.particles import bond"),
    "ground to transport": ("solver/particles/a.py", "from ..transport.conduct import conduct"),
    "transport to its neighbour": ("solver/transport/a.py", "from solver.electrochemistry import kinetics"),
    "transport to cell": ("solver/transport/a.py", "import solver.cell.porous"),
    "process to its neighbour": ("solver/process/a.py", "from solver.cell import cell"),
    "room to the top": ("solver/cell/a.py", "from .. import pipeline"),
    "open": ("microstructure/a.py", "text = open('x').read()"),
    "paths": ("solver/cell/a.py", "from pathlib import Path"),
    "hdf5": ("microstructure/grid.py", "import h5py"),
    "a name like that of the folder": ("microstructure/exchange_rate.py", "import h5py"),
    "images": ("inverse/a.py", "from tifffile import imread"),
    "arrays": ("solver/a.py", "import numpy as np\nx = np.load('x.npy')"),
    "written arrays": ("solver/a.py", "import numpy as np\nnp.savez_compressed('x', y=1)"),
    "configures": ("solver/a.py", "import jax\njax.config.update('jax_enable_x64', True)"),
    "reads the configuration": ("solver/a.py", "import jax\nwide = jax.config.jax_enable_x64"),
    "configures by name": ("inverse/a.py", "from jax import config"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_rule_can_be_broken(name):
    assert len(violations(*BAD[name])) == 1


GOOD = {
    "down": (
        "solver/process/a.py",
        "from solver.particles import bond\nfrom ..numerics import flux\nimport microstructure.grid",
    ),
    "the top": (
        "solver/pipeline.py",
        "from solver.process import drying\nfrom . import handover\nfrom solver.cell import cell",
    ),
    "own room": ("solver/cell/a.py", "from .porous import Porous"),
    "files in their room": ("microstructure/store.py", "import h5py\nimport pathlib"),
    "files in their folder": ("microstructure/exchange/lammps.py", "import pathlib\ntext = open('x').read()"),
    "rim": ("mesode/a.py", "import jax\njax.config.update('jax_enable_x64', True)\nopen('x')"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_allowed_passes(name):
    assert violations(*GOOD[name]) == []


def _module_graph(found: dict[str, str]) -> dict[str, set[str]]:
    named = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in found}
    graph = {}
    for module, path in named.items():
        imports = _imports(path, ast.parse(found[path]))
        graph[module] = {t for n in imports for t in (n, n.rpartition(".")[0]) if t in named and t != module}
    return graph


def test_the_library_has_no_cycles():
    graph = _module_graph(modules(*LIBRARY))
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)
    bad = _module_graph({"solver/a.py": "from solver import b", "solver/b.py": "from . import a"})
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(bad).prepare()


def _undeclared(found: dict[str, str], declared: set[str]) -> set[str]:
    imported = {n.split(".")[0] for path, source in found.items() for n in _imports(path, ast.parse(source))}
    return imported - set(OURS) - set(sys.stdlib_module_names) - declared


def test_every_library_we_import_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.match(r"[\w-]+", text)[0] for text in project["dependencies"]} | {"jaxtyping"}  # comes with equinox
    test = {re.match(r"[\w-]+", text)[0] for text in project["optional-dependencies"]["test"]}
    assert _undeclared(modules(*LIBRARY, "mesode"), core) == set()
    assert _undeclared(modules("tests"), core | test) == set()
    assert _undeclared({"solver/a.py": "import torch.nn"}, core) == {"torch"}


PROBE = """
import importlib, os, sys
sys.path.insert(0, sys.argv[1])
import jax
before, environment = dict(jax.config.values), dict(os.environ)
for name in sys.argv[2:]:
    importlib.import_module(name)
    now = {key: jax.config.values[key] for key in before}  # equinox loads pallas, which adds a key of its own
    assert now == before, f"{name} changes the configuration of jax"
    assert dict(os.environ) == environment, f"{name} changes the environment"
"""


def _import_alone(root, names) -> subprocess.CompletedProcess:
    """Imports `names` in a process whose jax platform does not exist, so that making any array fails."""
    environment = {**os.environ, "JAX_PLATFORMS": "there_is_no_such_platform", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", PROBE, str(root), *names]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_importing_has_no_effect():
    names = list(_module_graph(modules(*LIBRARY, "mesode")))
    done = _import_alone(ROOT, names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("print('hello')", "hello"),
        ("import jax; jax.config.update('jax_enable_x64', True)", "changes the configuration"),
        ("import os; os.environ['XLA_FLAGS'] = ''", "changes the environment"),
        ("import jax.numpy as jnp; zero = jnp.zeros(3)", "there_is_no_such_platform"),
    ],
)
def test_an_effect_would_be_seen(tmp_path, source, said):
    (tmp_path / "effect_of_import.py").write_text(source, encoding="utf-8")
    done = _import_alone(tmp_path, ["effect_of_import"])
    assert said in done.stdout + done.stderr
