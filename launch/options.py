"""Arguments and output that several verbs share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from data_pipeline.logs import log
from launch.tables import encodable, quoted

AS_PATH = click.Path(path_type=Path)
data_argument = click.argument("data", required=False)
workdir_argument = click.argument("workdir", required=False, type=AS_PATH)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
best_option = click.option(
    "--best", is_flag=True, help="Load the checkpoint with the best validation metric, not the newest."
)
settings_option = click.option(
    "--set", "settings", multiple=True, metavar="PART.KEY=VALUE", help="Change a setting; repeatable."
)
recipe_option = click.option("--recipe", help="Named settings to start from.  [default: article]")
config_option = click.option(
    "--config",
    "config_file",
    type=AS_PATH,
    metavar="FILE",
    help="A YAML or JSON file of settings, on top of the recipe; --set goes on top of it.",
)
model_option = click.option(
    "--model",
    metavar="MODULE:FUNCTION",
    help="Import this model of your own; a run's stored name alone is never imported.",
)


def print_result(fields: dict[str, Any], text: str, as_json: bool) -> None:
    """Prints one JSON object, or the text, on stdout."""
    print(json.dumps(fields, allow_nan=False) if as_json else encodable(text))


def existing_run(workdir: Path | None, model: str | None) -> Path:
    """The run in `workdir`, by default the newest one; checked before TensorFlow loads.

    Raises:
        UserError: there is no run, or its model is your own and not named by `model`.
    """
    from trainer.config import require_named_model
    from trainer.workdir.workdir import Workdir, newest_workdir

    if workdir is None:
        workdir = newest_workdir()
        log.info(f"run       {quoted(workdir)} (the newest)")
    config, _ = Workdir(workdir).read()
    require_named_model(config.model.name, model, where=workdir)
    return workdir
