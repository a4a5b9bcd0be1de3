"""The arrows of ARCHITECTURE.md: a module imports from its own stage or from an earlier one, never from a later one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import midas

SOURCE = Path(midas.__file__).parent
MODEL = ("borrowing", "readings", "results", "decoding", "spread", "learned", "storage", "sample", "sharing", "model")
STAGES = (
    ("config",),
    ("data", "ranks"),
    ("bridging", "batch_effects"),
    ("nn", "inference"),
    ("losses",),
    ("training",),
    MODEL,
    ("transfer",),
    ("io",),
)
BESIDE = {
    "simulate": {"data"},
    "datasets": {"data"},
    "metrics": {"data"},
    "pp": {"data", "io"},
    "pl": {"data", "tl", "transfer"},
    "tl": {"data", "decoding", "metrics"},
    "reporting": {"data", "inference", "results", "metrics"},
    "convert": {"data", "io"},
    "bench": {"data", "datasets", "simulate", "metrics", "io"},
}
EVERYTHING = {"cli", "__main__", "__init__"}
EXCEPTIONS = {"model": {"transfer"}}  # MIDAS.transfer, when it is called


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it, but for those that only types need."""
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        yield from (name.split(".")[1] for name in names if name.startswith("midas."))


@cache
def graph() -> dict[str, set[str]]:
    """By module or folder of the package, the others that it imports."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        found.setdefault(name, set()).update(imported(path))
    return {name: others - {name} for name, others in found.items()}


def allowed(name: str) -> set[str]:
    """What a module may import; one that is in no stage, nor beside them, is of the base."""
    base = set(graph()) - {module for stage in STAGES for module in stage} - set(BESIDE) - EVERYTHING
    if name in EVERYTHING:
        return set(graph())
    if name in BESIDE:
        return base | BESIDE[name]
    place = next((i for i, stage in enumerate(STAGES) if name in stage), -1)
    return base.union(*STAGES[: place + 1])


@pytest.mark.parametrize("name", sorted(graph()))
def test_no_module_imports_a_later_stage(name: str) -> None:
    assert graph()[name] - EXCEPTIONS.get(name, set()) <= allowed(name)


def test_no_modules_import_each_other() -> None:
    TopologicalSorter({name: others - EXCEPTIONS.get(name, set()) for name, others in graph().items()}).prepare()


def test_every_stage_is_there() -> None:
    assert {module for stage in STAGES for module in stage} | set(BESIDE) | EVERYTHING <= set(graph())
