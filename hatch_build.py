"""The build hook of a compiled wheel: mypyc turns the modules that every request passes into one extension module.

`HATCH_BUILD_HOOKS_ENABLE=1 pip wheel .` uses it; it needs a C compiler. Nothing is compiled otherwise, and never in an
editable installation, where a compiled module would hide what is edited. See docs/adr/0015-compiled-data-plane.md.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def compiled_modules(package: Path, settings: Mapping[str, list[str]]) -> list[str]:
    """The files that are compiled, as paths below the package.

    Args:
        package: the package's directory.
        settings: `compile` and `interpret`, patterns of paths below the package; the second takes from the first.
    """

    def matching(patterns: list[str]) -> set[str]:
        return {str(path.relative_to(package)) for pattern in patterns for path in package.glob(pattern)}

    chosen = matching(settings["compile"]) - matching(settings["interpret"])
    return sorted(path for path in chosen if not path.endswith("__init__.py"))


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel, beside their sources, which tracebacks quote."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile a copy of the sources, and tell the builder what came of it."""
        if version == "editable":
            return
        self._work = Path(tempfile.mkdtemp(prefix="tokenbooth-compile-"))
        sources = self._work / "src"
        shutil.copytree(Path(self.root, "src"), sources, ignore=shutil.ignore_patterns("__pycache__"))
        modules = [f"tokenbooth/{module}" for module in compiled_modules(sources / "tokenbooth", self.config)]
        # 3 takes longer and is no faster here.
        options = {"MYPYC_OPT_LEVEL": "2", "MYPYC_DEBUG_LEVEL": "1"}
        # What is not compiled was checked elsewhere, with the plugins that it needs.
        lenient = ["--config-file", os.devnull, "--follow-imports=silent", "--ignore-missing-imports"]
        command = [sys.executable, "-m", "mypyc", *lenient, *modules]
        done = subprocess.run(  # noqa: S603 - every part of the command is ours
            command, cwd=sources, env={**os.environ, **options}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"mypyc failed; is there a C compiler?\n{done.stdout}\n{done.stderr}")
        built = [path for path in sources.rglob("*.so") if path.relative_to(sources).parts[0] != "build"]
        build_data["force_include"].update({str(path): str(path.relative_to(sources)) for path in built})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Throw the copy away."""
        if version != "editable":
            shutil.rmtree(self._work)
