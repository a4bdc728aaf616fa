"""The declared settings for people: YAML with comments, and docs/settings.md.

`python -m trainer.config.reference` writes docs/settings.md anew.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.settings import Setting
from trainer.config.parts import PARTS, SETTINGS, Config
from trainer.config.recipes import RECIPES

COMMENT_WIDTH = 98
# Texts that no YAML reader takes for something else; all others are quoted.
_PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[a-z][a-z0-9_-]*", re.IGNORECASE)
_INTRODUCTION = """\
# Settings

<!-- Written by `python -m trainer.config.reference`; edit the declarations in trainer/config/parts.py and
     data_pipeline/config.py instead. -->

A run's settings are the defaults below, with a recipe on top (`--recipe`), then a file (`--config`), then
single settings (`--set part.key=value`). `reeltrain config` prints all of them as YAML, which `--config`
reads:

```sh
reeltrain config --recipe mf > run.yaml
reeltrain train ratings.csv --config run.yaml --set train.epochs=3
```

A `--config` file is YAML or, with the ending `.json`, JSON. A run's `config.json` is one, too. Keys are
nested (`train: {epochs: 3}`) or dotted (`train.epochs: 3`), each given once; `recipe: mf` names a recipe,
which `--recipe` overrides. Anchors, aliases, tags, several documents, unknown keys and files over 1 MB are
errors. In Python the same file, or a mapping, is `reeltrain.train(config=...)`.

A value is checked whenever a configuration is made, in Python too. Whole numbers are below 2,147,483,648,
seeds below 4,294,967,296; NaN and infinity are errors. A run can be continued with another value where the
column "resume" says yes; any other change needs a new workdir.

**A model of your own** (`model.name` is `module:function`) is imported only if the command or call names
it: by `--model module:function`, by `--set model.name=module:function`, by a YAML file given with
`--config`, or in Python by `model=`, `settings=` or `config=`. A JSON file, such as a run's `config.json`,
does not name it, and nothing that is stored in a workdir does: to continue, evaluate or use such a run,
give `--model` again (`load_run(workdir, model=...)` in Python).
"""


def as_yaml(config: Config) -> str:
    """The whole configuration, each key with help, range and default as a comment."""
    lines = [
        "# `reeltrain train --config FILE` reads this; `--set part.key=value` goes on top.",
        "",
        "# Named settings to start from.",
        f"# [one of {', '.join(RECIPES)}]",
        f"recipe: {_scalar(config.recipe)}",
    ]
    values = config.flat()
    for part in PARTS:
        lines += ["", f"{part}:"]
        for declared in _of_part(part):
            rule = f"[{declared.type_and_rule}; default: {shown_value(declared.default)}]"
            for comment in (declared.help_text, rule):
                lines += textwrap.wrap(
                    comment, COMMENT_WIDTH, initial_indent="  # ", subsequent_indent="  # "
                )
            lines.append(f"  {_name(declared)}: {_yaml(values[declared.key])}")
    return "\n".join(lines)


def settings_page() -> str:
    """The text of docs/settings.md."""
    lines = [_INTRODUCTION]
    for part, kind in PARTS.items():
        lines += [f"## `{part}`", "", (kind.__doc__ or "").partition("\n")[0], ""]
        lines += ["| key | value | default | resume | |", "|---|---|---|---|---|"]
        lines += [_row(declared) for declared in _of_part(part)]
        lines.append("")
    return "\n".join([*lines, *_recipes_table(), ""])


def shown_value(value: Any) -> str:
    """A value as it is written behind `--set key=`."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value) if value != "" else "empty"


def _of_part(part: str) -> Iterator[Setting]:
    return (declared for declared in SETTINGS.values() if declared.key.startswith(f"{part}."))


def _name(declared: Setting) -> str:
    return declared.key.partition(".")[2]


def _row(declared: Setting) -> str:
    default = "" if declared.default == "" else f"`{shown_value(declared.default)}`"
    resume = "yes" if declared.changeable else ""
    return (
        f"| `{declared.key}` | {_value_text(declared)} | {default} | {resume} | {_cell(declared.help_text)} |"
    )


def _value_text(declared: Setting) -> str:
    if declared.choices:
        return " ".join(f"`{choice}`" for choice in declared.choices)
    return _cell(declared.type_and_rule)


def _cell(text: str) -> str:
    """Text inside a table's cell."""
    return text.replace("|", "\\|")


def _recipes_table() -> Iterator[str]:
    yield from ("## Recipes", "", "What each recipe sets; an empty cell is the default.", "")
    yield "| | " + " | ".join(f"`{name}`" for name in RECIPES) + " |"
    yield "|---" * (len(RECIPES) + 1) + "|"
    for key in SETTINGS:
        cells = [shown_value(recipe[key]) if key in recipe else "" for recipe in RECIPES.values()]
        if any(cells):
            yield f"| `{key}` | " + " | ".join(cells) + " |"


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else _scalar(value) if isinstance(value, str) else repr(value)


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    import yaml

    return yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=True).strip()


if __name__ == "__main__":
    path = Path(__file__).parents[2] / "docs" / "settings.md"
    path.write_text(settings_page(), encoding="utf-8")
    print(path)
