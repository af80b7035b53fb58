"""What is compiled: that it is, where it should be, and that it holds nothing that the compiler gets wrong."""

import ast
import importlib
import os
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tokenbooth"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"][
    "custom"
]
HOOK = runpy.run_path(str(ROOT / "hatch_build.py"))
MODULES: list[str] = HOOK["compiled_modules"](PACKAGE, SETTINGS)
# What lets others run, so that the exception in hand would be somebody else's afterwards.
PAUSES = (ast.Await, ast.AsyncWith, ast.AsyncFor, ast.Yield, ast.YieldFrom)


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Each module with its syntax."""
    for module in MODULES:
        yield module, ast.parse((PACKAGE / module).read_text())


def test_no_exception_is_in_hand_over_a_pause() -> None:
    """mypyc keeps it where every coroutine keeps its own: another one's may be raised at the end of the pause."""
    found = [
        f"{module}:{pause.lineno}"
        for module, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Try | ast.TryStar)
        for part in (*node.finalbody, *node.handlers)
        for pause in ast.walk(part)
        if isinstance(pause, PAUSES)
    ]
    assert found == []


def test_nothing_is_entered_over_a_pause() -> None:
    """`async with` holds an exception over the pause at its end."""
    found = [
        f"{module}:{node.lineno}"
        for module, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
    ]
    assert found == []


def test_no_annotation_is_read_at_run_time() -> None:
    """The compiler keeps the outermost type alone: shapes for msgspec, and data classes' class variables, go wrong."""
    found = []
    for module, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            if any("Struct" in ast.unparse(base) for base in node.bases):
                found.append(f"{module}:{node.lineno}")
            is_data = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
            annotated = [line for line in node.body if isinstance(line, ast.AnnAssign)]
            if is_data and any("ClassVar" in ast.unparse(line.annotation) for line in annotated):
                found.append(f"{module}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("pattern", SETTINGS["interpret"])
def test_what_is_interpreted_is_there(pattern: str) -> None:
    """A module that was moved or is gone leaves no exception behind."""
    assert list(PACKAGE.glob(pattern))


@pytest.mark.skipif("TOKENBOOTH_TEST_COMPILED" not in os.environ, reason="make test-compiled runs it")
@pytest.mark.parametrize("module", MODULES)
def test_the_compiled_module_is_the_one_that_runs(module: str) -> None:
    """Otherwise everything beside this would test the sources once more."""
    file = importlib.import_module("tokenbooth." + module.removesuffix(".py").replace("/", ".")).__file__
    assert file is not None
    assert file.endswith(".so")
