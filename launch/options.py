"""Arguments and output that several verbs share."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_pipeline.logs import log
from launch.tables import encodable, quoted

if TYPE_CHECKING:
    from data_pipeline.settings import Setting

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

# Every setting `data.*` is an option of the verbs that read ratings; some take one of a few values. A test
# compares both with the declarations, which are loaded only when their text or values are needed.
DATA_OPTIONS = (
    *("format", "columns", "bad_rows", "users", "items", "duplicates", "min_user_ratings"),
    *("min_item_ratings", "split", "test", "test_fraction", "validation_fraction", "split_seed"),
    *("folds", "fold"),
)
_CHOICES = ("format", "bad_rows", "duplicates")


def _declared(key: str) -> Setting:
    from data_pipeline.config import DataConfig
    from data_pipeline.settings import declared_settings

    return declared_settings("data", DataConfig)[f"data.{key}"]


class _Choice(click.Choice):
    """The values of a declared setting."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.case_sensitive = True

    @cached_property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        return _declared(self.key).choices


class _SettingOption(click.Option):
    """An option with the text and default of a declared setting."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        declared = _declared(str(self.name))
        default = "" if declared.default == "" else f"  [default: {declared.default}]"
        self.help = f"{declared.help_text}{default}".replace("`", "")
        return super().get_help_record(ctx)


def data_options(command: Callable) -> Callable:
    """An option for every setting `data.*`: `--split time` is `--set data.split=time`."""
    for key in reversed(DATA_OPTIONS):
        kind = _Choice(key) if key in _CHOICES else str
        metavar = None if key in _CHOICES else "VALUE"
        command = click.option(
            f"--{key.replace('_', '-')}", key, cls=_SettingOption, type=kind, metavar=metavar
        )(command)
    return command


def with_options(settings: tuple[str, ...], options: dict[str, Any]) -> list[str]:
    """The settings, with those of `data_options`.

    Raises:
        click.UsageError: one key is given both ways.
    """
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if any(setting.partition("=")[0].strip() == f"data.{key}" for setting in settings):
            raise click.UsageError(f"give --{key.replace('_', '-')} or --set data.{key}, got both")
    return [*settings, *(f"data.{key}={value}" for key, value in given.items())]


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
