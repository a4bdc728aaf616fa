"""The verb `config`."""

from __future__ import annotations

from pathlib import Path

import click

from launch.options import config_option, recipe_option, settings_option


@click.command()
@recipe_option
@config_option
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Print the configuration as one JSON object.")
def config(recipe: str | None, config_file: Path | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Print all settings as YAML, for `train --config`.

    \b
    reeltrain config --recipe mf > run.yaml
    reeltrain train ratings.csv --config run.yaml
    """
    from trainer.config import RECIPES, make_config, read_config
    from trainer.config.reference import as_yaml

    whole = make_config(recipe, RECIPES, settings, read_config(config_file))
    print(whole.to_json() if as_json else as_yaml(whole))
