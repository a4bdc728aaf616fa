"""The losses of a fixed tiny run of every recipe, as they were when they were last looked at.

Renewed by running this file; see golden/README.md.
"""

import json
import tempfile
from pathlib import Path

import pytest

from support import runs
from trainer.config.recipes import RECIPES

GOLDEN = Path(__file__).parent / "golden"
STEPS = 100
BATCH = 32
TOLERANCES = {"float64": 1e-10, "float32": 1e-5}


def tiny_runs_losses(recipe, precision):
    """100 losses: two epochs of generated ratings, whose last batches are short."""
    with tempfile.TemporaryDirectory() as folder:
        data = runs.prepare_generated(Path(folder) / "data", num_train=(STEPS // 2 - 1) * BATCH + 9)
        settings = {
            "train.global_batch_size": BATCH,
            "train.epochs": 2,
            "train.seed": 11,
            "train.precision": precision,
            "train.log_every_steps": 1,
        }
        runs.train(data, Path(folder) / "run", settings, recipe=recipe)
        return list(runs.losses(Path(folder) / "run").values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipes_losses_are_the_golden_ones(recipe, precision):
    golden = json.loads((GOLDEN / f"{recipe}.json").read_text())[precision]
    assert len(golden) == STEPS
    assert tiny_runs_losses(recipe, precision) == pytest.approx(golden, rel=0, abs=TOLERANCES[precision])


if __name__ == "__main__":
    for name in RECIPES:
        losses = {precision: tiny_runs_losses(name, precision) for precision in TOLERANCES}
        (GOLDEN / f"{name}.json").write_text(json.dumps(losses, indent=1) + "\n")
