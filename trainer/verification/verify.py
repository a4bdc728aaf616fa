"""Checks that all layouts of this machine train the same: each against one device, and that against NumPy."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.errors import UserError
from data_pipeline.logs import log, shown
from trainer.config import Config, make_config
from trainer.config.recipes import RECIPES
from trainer.run.build import model_for
from trainer.run.caller import keras_in, seeded
from trainer.verification import reference
from trainer.verification.comparison import NUMPY, Comparison, compare
from trainer.verification.layouts import Layout, LayoutError, Outcome, run_layout
from trainer.verification.subset import prepare_subset

if TYPE_CHECKING:
    import pandas as pd

# Absolute, over up to about 200 steps of `article`; in brackets the differences measured against NumPy and
# between layouts. float64 (2e-15, 4e-15) and float32 (2e-6, 2e-6) differ only by rounding, bfloat16 (0.013,
# 0.010) and float16 (0.011, 0.010) by products of 8 and 11 bits.
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "mixed_bfloat16": 0.05, "mixed_float16": 0.05}
# Two, so that the order of the second epoch and the transition to it are also compared.
EPOCHS = 2
OURS = ("train.epochs", "train.max_steps", "train.replicas", "train.precision", "train.log_every_steps")
SINGLE_DEVICE = Layout(workers=1, replicas=1)
# Keras's names of an optimizer's variables of a weight, in the order of `reference.Optimizer.slots`.
SLOT_NAMES = {"adam": ("momentum", "velocity"), "adagrad": ("accumulator",), "sgd": ("momentum",)}


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        tolerance: the largest difference that passes.
        covered: features of this training that could differ between layouts.
        no_reference: the reason if nothing was compared with NumPy, or None.
    """

    recipe: str
    precision: str
    steps: int
    tolerance: float
    covered: list[str]
    no_reference: str | None
    comparisons: list[Comparison]

    @property
    def passed(self) -> bool:
        return self.first_failure is None

    @property
    def first_failure(self) -> str | None:
        """The first layout that failed, with the reason, in one line."""
        return next((f"{c.name}: {c.failure}" for c in self.comparisons if c.failure), None)

    def largest(self, what: str) -> float | None:
        """The largest `loss_difference`, `weight_difference` or `metric_difference`; None if unknown."""
        values = [getattr(comparison, what) for comparison in self.comparisons]
        return None if None in values else max(values, default=None)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "max_loss_difference": self.largest("loss_difference"),
            "max_weight_difference": self.largest("weight_difference"),
            "max_metric_difference": self.largest("metric_difference"),
            "layouts": [dataclasses.asdict(c) | {"passed": not c.failure} for c in self.comparisons],
            "tolerance": self.tolerance,
            "steps": self.steps,
            "precision": self.precision,
            "recipe": self.recipe,
            "covered": self.covered,
            "no_reference": self.no_reference,
        }


def verify(
    data: str | Path | pd.DataFrame | None,
    *,
    recipe: str,
    settings: Sequence[str],
    replicas: Sequence[int],
    workers: Sequence[int],
    precision: str,
    steps: int,
    command: Sequence[str],
    tolerance: float | None = None,
    quiet: bool = False,
) -> Verification:
    """Trains the same global batches on each layout and compares the results.

    The layouts: a single device, one worker with each of `replicas`, each of `workers` with one replica.

    Args:
        data: as for `train`; a fixed subset of the rows is used.
        settings: as for `train`, except those that verification sets itself.
        steps: of all `EPOCHS` epochs together; the last batch of each epoch is incomplete.
        command: starts `reeltrain`, for the layouts' processes.
        tolerance: by default that of the precision.
        quiet: logs nothing.

    Raises:
        UserError: a mistake in the arguments or the data.
    """
    config = _config(recipe, settings, precision=precision, steps=steps)
    layouts = _layouts(replicas, workers, config.train.global_batch_size)
    tolerance = TOLERANCES[precision] if tolerance is None else tolerance
    with shown(quiet=quiet), tempfile.TemporaryDirectory(prefix="reeltrain-verify-") as name:
        folder = Path(name)
        dataset = prepare_subset(data, config, settings, folder / "dataset", epochs=EPOCHS, steps=steps)
        outcomes: dict[Layout, Outcome | str] = {}
        for number, layout in enumerate(layouts):
            log.info(f"verify    {layout.name}: {steps} steps in {precision}")
            try:
                outcomes[layout] = run_layout(
                    layout,
                    dataset.path,
                    folder / str(number),
                    _train_arguments(recipe, settings, precision),
                    command=command,
                )
            except LayoutError as error:
                outcomes[layout] = str(error)
        return Verification(
            recipe=recipe,
            precision=precision,
            steps=steps,
            tolerance=tolerance,
            covered=_covered(config, dataset, layouts),
            no_reference=None if reference.knows(config) else _no_reference(config),
            comparisons=_compared(config, dataset, outcomes, tolerance, steps),
        )


def _compared(
    config: Config,
    dataset: PreparedDataset,
    outcomes: Mapping[Layout, Outcome | str],
    tolerance: float,
    steps: int,
) -> list[Comparison]:
    """The single device against the NumPy reference, if there is one, and each other layout against it."""
    comparisons = []
    single = outcomes[SINGLE_DEVICE]
    if reference.knows(config):
        expected = _reference_outcome(config, dataset)
        comparisons.append(compare(SINGLE_DEVICE, single, NUMPY, expected, tolerance, steps))
    for layout, outcome in outcomes.items():
        if layout != SINGLE_DEVICE:
            comparisons.append(compare(layout, outcome, SINGLE_DEVICE.name, single, tolerance, steps))
    return comparisons


def _no_reference(config: Config) -> str:
    return f"no reference for model {config.model.name} with {config.objective.name}"


def _train_arguments(recipe: str, settings: Sequence[str], precision: str) -> list[str]:
    """Arguments of `reeltrain train` that all layouts have; the data is prepared already."""
    own = [setting for setting in settings if not setting.startswith("data.")]
    fixed = [f"train.epochs={EPOCHS}", "train.log_every_steps=1", f"train.precision={precision}"]
    return ["--recipe", recipe, *(word for setting in [*own, *fixed] for word in ("--set", setting))]


def initial_weights(config: Config, dataset: PreparedDataset) -> dict[str, np.ndarray]:
    """Path of each trainable variable -> its initial value, in the model's order."""
    with keras_in(config.train.precision), seeded(config.train.seed), tf.device("CPU"):
        model = model_for(config, dataset)
        return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables}


def _config(recipe: str, settings: Sequence[str], *, precision: str, steps: int) -> Config:
    for setting in settings:
        if setting.partition("=")[0].strip() in OURS:
            raise UserError(f"verify sets {', '.join(OURS)} itself, got {setting!r}")
    if steps < EPOCHS or steps % EPOCHS:
        raise UserError(f"steps must be an even number of at least 2, for {EPOCHS} epochs, got {steps}")
    config = make_config(recipe, RECIPES, settings)
    # `--set` of the layouts' processes overrides the recipe in the same way.
    return dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, epochs=EPOCHS, precision=precision),  # type: ignore[arg-type]
    )


def _layouts(replicas: Sequence[int], workers: Sequence[int], global_batch_size: int) -> list[Layout]:
    """The single device first."""
    asked = [Layout(workers=1, replicas=r) for r in replicas]
    asked += [Layout(workers=w, replicas=1) for w in workers if w > 1]
    layouts = list(dict.fromkeys([SINGLE_DEVICE, *asked]))
    for layout in layouts:
        if global_batch_size % layout.num_replicas:
            raise UserError(
                f"train.global_batch_size ({global_batch_size}) must be a multiple of the replicas of every "
                f"layout, got {layout.name}"
            )
    return layouts


def _reference_outcome(config: Config, dataset: PreparedDataset) -> Outcome:
    """The result of the NumPy reference, under the names of a checkpoint."""
    run = reference.train_reference(config, dataset, initial_weights(config, dataset))
    variables = {f"model/{path}": weight for path, weight in run.weights.items()}
    for path, slots in run.slots.items():
        for name, slot in zip(SLOT_NAMES[config.optimizer.name], slots, strict=False):
            variables[f"optimizer/{path.replace('/', '_')}_{name}"] = slot
    return Outcome(run.losses, variables, run.metrics)


def _covered(config: Config, dataset: PreparedDataset, layouts: Sequence[Layout]) -> list[str]:
    optimizer, model = config.optimizer, config.model
    parts = {
        "short last batches": config.train.global_batch_size > 1,
        "replicas without rows": any(layout.num_replicas > 1 for layout in layouts),
        "weights": getattr(dataset.columns("train"), "weight", None) is not None,
        "L2": model.embedding_l2 > 0,
        "dropout": model.dropout > 0,
        "sparse tables": any(model.is_sparse(rows) for rows in _table_rows(dataset)),
        "momentum": optimizer.name == "sgd" and optimizer.momentum > 0,
        "weight decay": optimizer.weight_decay > 0,
        "global-norm clipping": optimizer.global_clipnorm is not None,
        "gradient accumulation": config.train.accumulation_steps > 1,
    }
    return [
        f"model {model.name}",
        f"objective {config.objective.name}",
        f"optimizer {optimizer.name}",
        *(n for n, is_in in parts.items() if is_in),
    ]


def _table_rows(dataset: PreparedDataset) -> tuple[int, int]:
    return dataset.num_user_rows, dataset.num_item_rows
