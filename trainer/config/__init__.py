"""The configuration of a run: defaults < recipe < file < `--set part.key=value`.

- `parts`: every setting, declared once (those of `data.*` in `data_pipeline.config`).
- `recipes`: named settings with the result that they are known to give.
- `parse`: texts, files and stored configurations to a `Config`.
- `file`, `strict_yaml`: a YAML or JSON file, read safely.
- `own_model`: `module:function`, imported only where a command or call names it.
- `reference`: the settings as YAML with comments, and docs/settings.md.
"""

from trainer.config.file import ConfigFile, read_config
from trainer.config.own_model import import_model, is_own_model, require_named_model
from trainer.config.parse import DEFAULT_RECIPE, config_from_json, make_config
from trainer.config.parts import (
    MODEL_NAMES,
    PARTS,
    SETTINGS,
    SPARSE_FROM_ROWS,
    Config,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainConfig,
)
from trainer.config.recipes import RECIPES

__all__ = [
    "DEFAULT_RECIPE",
    "MODEL_NAMES",
    "PARTS",
    "RECIPES",
    "SETTINGS",
    "SPARSE_FROM_ROWS",
    "Config",
    "ConfigFile",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "TrainConfig",
    "config_from_json",
    "import_model",
    "is_own_model",
    "make_config",
    "read_config",
    "require_named_model",
]
