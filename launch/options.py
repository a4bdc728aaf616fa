"""Arguments and output that several verbs share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

AS_PATH = click.Path(path_type=Path)
data_argument = click.argument("data", required=False)
workdir_argument = click.argument("workdir", required=False, type=AS_PATH)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
best_option = click.option(
    "--best", is_flag=True, help="Take the checkpoint that is best on validation, not the newest."
)
settings_option = click.option(
    "--set", "settings", multiple=True, metavar="PART.KEY=VALUE", help="Change a setting; may be repeated."
)
recipe_option = click.option(
    "--recipe", default="article", show_default=True, help="Named settings to start from."
)


def print_result(fields: dict[str, Any], text: str, as_json: bool) -> None:
    """On stdout: one JSON object, or the text."""
    print(json.dumps(fields, allow_nan=False) if as_json else text)


def existing_run(workdir: Path | None) -> Path:
    """The run that is meant, checked before TensorFlow loads."""
    from trainer.workdir.workdir import Workdir, newest_workdir

    if workdir is None:
        workdir = newest_workdir()
        print(f"run       {workdir} (the newest)", file=sys.stderr)
    Workdir(workdir).read()
    return workdir
