"""Who may import whom (the architecture part of the README), read from the source with `ast` and never by importing.

A unit is a module or package directly under src/denoiselab. A new unit needs a row here: that is the moment to think.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "denoiselab"

# The units of denoiselab that a unit may import, apart from itself, `files` (which writes files whole) and `nearest`.
MAY_IMPORT: dict[str, set[str]] = {
    "files": set(),
    "nearest": set(),
    "noise": set(),
    "denoise": {"noise"},
    "sample": {"noise", "denoise"},
    "edit": {"noise", "denoise", "sample"},
    "nets": set(),
    "data": {"noise"},
    "checkpoint": set(),
    "allocator": set(),
    "hardware": set(),
    "imports": set(),
    "runs": set(),
    "training": {"noise", "denoise", "sample", "nets", "evaluation", "figures", "checkpoint", "runs", "hardware"},
    "backbones": {"noise", "denoise", "nets", "checkpoint", "hardware"},
    "evaluation": {"noise", "data", "comparison"},
    "comparison": set(),
    "figures": {"comparison"},
    "jobs": {"edit", "figures"},
    "measurement": {"jobs", "edit", "evaluation", "figures", "runs", "data"},
    "sweeps": {"figures", "runs"},
    "config": {"runs", "data", "edit"},
    "__init__": set(),
}
# The only units that may import a third-party package.
ONLY_IN: dict[str, set[str]] = {
    "lightning": {"training", "data"},
    "lightning_fabric": set(),
    "pytorch_lightning": set(),  # the same code under its old name: two copies of every class
    "hydra": {"config"},
    "omegaconf": {"config"},
    "diffusers": {"backbones"},
    "transformers": {"backbones"},
}
# train.py and sample.py may import Lightning, Hydra and OmegaConf too; the models' libraries not.
SCRIPTS = sorted(ROOT.glob("*.py"))


@dataclass(frozen=True)
class Import:
    where: str  # path:line
    module: str  # absolute dotted name
    when_used: bool  # inside a function or under TYPE_CHECKING: not on importing the module

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def imports(source: str, module: str, is_package: bool, where: str) -> Iterator[Import]:
    """Every import of a source: absolute, relative, and importlib.import_module of a literal."""
    package = module.split(".") if is_package else module.split(".")[:-1]

    def walk(node: ast.AST, when_used: bool) -> Iterator[Import]:
        here = f"{where}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(here, alias.name, when_used) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from denoiselab import noise` imports the unit noise
            yield from (Import(here, f"{name}.{alias.name}", when_used) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            yield from (Import(here, str(n.value), when_used) for n in node.args[:1] if isinstance(n, ast.Constant))
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        for child in ast.iter_child_nodes(node):
            yield from walk(child, when_used or deferred)

    yield from walk(ast.parse(source), False)


def module_of(path: Path) -> tuple[str, bool]:
    """(dotted name, whether it is a package) of a file under src."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return (".".join(parts[:-1]), True) if parts[-1] == "__init__" else (".".join(parts), False)


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[Import]:
    return list(imports(path.read_text(), *module_of(path), str(path.relative_to(ROOT))))


FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def test_the_walk_finds_every_way_to_import() -> None:
    source = """
import a.b, c
from denoiselab import noise
from . import sibling
from .. import denoise as d
from ..nets.unet import UNet
if TYPE_CHECKING:
    import typed
def f():
    import late
    importlib.import_module("named")
class C:
    from e import g
"""
    found = {(i.module, i.when_used) for i in imports(source, "denoiselab.edit.views", False, "x")}
    assert found == {
        ("a.b", False),
        ("c", False),
        ("denoiselab.noise", False),
        ("denoiselab.edit.sibling", False),
        ("denoiselab.denoise", False),
        ("denoiselab.nets.unet.UNet", False),
        ("typed", True),
        ("late", True),
        ("named", True),
        ("e.g", False),
    }
    assert [i.module for i in imports("from .unet import UNet", "denoiselab.nets", True, "x")] == [
        "denoiselab.nets.unet.UNet"
    ]


def test_there_is_something_to_walk() -> None:
    assert {"noise", "denoise", "sample", "nets"} <= {unit_of(path) for path in FILES}
    assert "train.py" in {path.name for path in SCRIPTS}


def test_every_unit_has_a_row_and_none_is_called_utils() -> None:
    assert {unit_of(path) for path in FILES} <= set(MAY_IMPORT)
    words = {part.removesuffix(".py") for path in FILES for part in path.relative_to(PACKAGE).parts}
    assert not words & {"utils", "util", "helpers", "misc", "common"}


@every_file
def test_units_import_the_units_below_them(path: Path) -> None:
    unit = unit_of(path)
    allowed = MAY_IMPORT[unit] | {unit, "files", "nearest"}
    for found in imports_of(path):
        if found.top == "denoiselab":
            below = found.module.split(".")[1]
            assert below in allowed, f"{found.where}: {unit} imports {below}; allowed are {', '.join(sorted(allowed))}"


@every_file
def test_libraries_are_imported_where_they_belong(path: Path) -> None:
    unit = unit_of(path)
    for found in imports_of(path):
        if found.top in ONLY_IN:
            allowed = ONLY_IN[found.top]
            assert unit in allowed, f"{found.where}: {found.top} belongs in {', '.join(sorted(allowed)) or 'no unit'}"
        if found.top in ("diffusers", "transformers"):
            assert found.when_used, f"{found.where}: {found.top} is imported when used, inside a function"
        if unit in ("nets", "noise", "denoise", "sample"):
            known = found.top in {"torch", "denoiselab", *sys.stdlib_module_names}
            assert known, f"{found.where}: {unit} imports torch only, and not {found.top}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_leave_the_models_libraries_to_the_backbones(script: Path) -> None:
    for found in imports(script.read_text(), script.stem, False, script.name):
        assert found.top not in ("diffusers", "transformers", "pytorch_lightning"), found.where


def test_units_do_not_import_in_a_circle() -> None:
    """The table itself: whatever it allows can be put in an order."""
    left = dict(MAY_IMPORT)
    while left:
        free = [unit for unit, below in left.items() if not below & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for unit in free:
            del left[unit]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("denoiselab", ["torch", "numpy", "lightning", "hydra", "omegaconf", "diffusers", "transformers"]),
        ("denoiselab.data.words, denoiselab.data.rows", ["torch", "numpy", "lightning"]),
        ("denoiselab.config", ["torch", "torchvision", "lightning", "diffusers", "transformers", "wandb"]),
        (
            "denoiselab.nets, denoiselab.sample",
            ["lightning", "hydra", "omegaconf", "diffusers", "transformers", "torchvision"],
        ),
    ],
)
def test_importing_it_does_not_import_heavy_libraries(module: str, heavy: list[str]) -> None:
    """A wrong key on the command line is answered before torch is loaded."""
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not set(run.stdout.split()) & set(heavy)
