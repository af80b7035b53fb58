"""Options that many commands have."""

from pathlib import Path
from typing import Annotated, Final

import typer

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="The configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of a text for people.")]
DEFAULT_CONFIG: Final = Path("tokenbooth.toml")
