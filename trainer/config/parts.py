"""Every setting of a run, declared once; docs/settings.md and `reeltrain config` are made from this."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError, shown
from data_pipeline.settings import COUNT_LIMIT, SEED_LIMIT, Setting, declared_settings, setting, settings_part

# From this number of rows on, `model.tables=auto` trains a table sparsely (measured, docs/LOG.md 2026-11-24).
SPARSE_FROM_ROWS = 30_000
# What `trainer.models` builds; listed here so that no TensorFlow is loaded to check a setting.
MODEL_NAMES = ("bias", "mf", "mlp", "neumf", "wide-deep", "two-tower")
_OWN_MODEL = r"\w+(?:\.\w+)*:[\w.<>]+"
_Count = Annotated[int, setting("", ge=1, lt=COUNT_LIMIT)]


@settings_part("model")
@dataclass(frozen=True)
class ModelConfig:
    """Which model, and its sizes; a model ignores what it has no part for."""

    name: Annotated[
        str,
        setting(
            "Which model. `module:function` is a model of your own.",
            pattern=f"^(?:{'|'.join(MODEL_NAMES)}|{_OWN_MODEL})$",
            rule=f"one of {', '.join(MODEL_NAMES)} or module:function",
        ),
    ] = "mlp"
    embedding_dim: Annotated[
        int, setting("Width of the embeddings of users and of items.", ge=1, lt=COUNT_LIMIT)
    ] = 5
    hidden_units: Annotated[
        tuple[_Count, ...],
        setting(
            "Widths of the dense layers; `none` for no layer.",
            rule="whole numbers of at least 1 with commas between, or none",
            strict=False,  # a list is a tuple; its items are still whole numbers
        ),
    ] = (128, 32)
    dropout: Annotated[
        float, setting("Share of each hidden layer's outputs that training sets to 0.", ge=0, lt=1)
    ] = 0.0
    embedding_l2: Annotated[
        float,
        setting(
            "L2 penalty on the two embedding rows of each scored pair, added to its loss: "
            "embedding_l2 (|user row|^2 + |item row|^2).",
            ge=0,
            lt=COUNT_LIMIT,
        ),
    ] = 0.0
    bias_l2: Annotated[
        float, setting("The same penalty on the biases of user and item.", ge=0, lt=COUNT_LIMIT)
    ] = 0.0
    features: Annotated[
        str,
        setting(
            "Side features that `wide-deep` and `two-tower` read.",
            rule="all, none, or names with commas between",
        ),
    ] = "all"
    tables: Annotated[
        Literal["auto", "dense", "sparse"],
        setting(
            "How embedding tables are trained. `dense` updates every row in every step, `sparse` only the "
            f"rows of the batch. `auto` is sparse from {SPARSE_FROM_ROWS:,} rows on."
        ),
    ] = "auto"

    def is_sparse(self, num_rows: int) -> bool:
        """Whether an embedding table with this number of rows is trained sparsely."""
        return self.tables == "sparse" or (self.tables == "auto" and num_rows >= SPARSE_FROM_ROWS)


@settings_part("objective")
@dataclass(frozen=True)
class ObjectiveConfig:
    """What a model is trained for; formulas in `trainer.objectives`."""

    name: Annotated[
        Literal["mse", "ordinal", "bce", "bpr", "sampled-softmax", "in-batch-softmax"],
        setting(
            "`mse` and `ordinal` predict ratings. The others rank: `bce`, `bpr` and `sampled-softmax` sample "
            "negatives, `in-batch-softmax` takes the other items of the batch."
        ),
    ] = "mse"
    negatives: Annotated[
        int, setting("Number of items sampled for each training row.", ge=1, lt=COUNT_LIMIT)
    ] = 4
    sampler: Annotated[
        Literal["uniform", "popularity"],
        setting(
            "`uniform` samples from all items that the user has not rated. `popularity` samples in "
            "proportion to the number of ratings; items that the user has rated do not count."
        ),
    ] = "uniform"
    positive_from: Annotated[
        float | None,
        setting(
            "Lowest rating that a ranking objective learns from and an evaluation counts as relevant. "
            "`none` takes all rows.",
            allow_inf_nan=False,
        ),
    ] = None

    @property
    def is_ranking(self) -> bool:
        """Whether scores only order a user's items."""
        return self.name not in ("mse", "ordinal")


@settings_part("optimizer")
@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer; formulas in `trainer.engine.optimizers`."""

    name: Annotated[Literal["adam", "adagrad", "sgd"], setting("Which optimizer.")] = "adam"
    learning_rate: Annotated[float, setting("Step size of the optimizer.", gt=0, allow_inf_nan=False)] = 1e-3
    momentum: Annotated[float, setting("Momentum of `sgd`.", ge=0, lt=1)] = 0.0
    weight_decay: Annotated[
        float,
        setting(
            "Decoupled weight decay as in AdamW, times the learning rate. In sparse tables it applies to the "
            "rows of the batch.",
            ge=0,
            lt=COUNT_LIMIT,
        ),
    ] = 0.0
    global_clipnorm: Annotated[
        float | None,
        setting("Largest norm of all gradients together; `none` for no limit.", gt=0, allow_inf_nan=False),
    ] = None


@settings_part("train")
@dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    epochs: Annotated[
        int, setting("Passes over the training rows.", ge=1, lt=COUNT_LIMIT, changeable=True)
    ] = 5
    max_steps: Annotated[
        int,
        setting(
            "Ends the run after this number of steps, if that is earlier; 0 for no limit.",
            ge=0,
            lt=COUNT_LIMIT,
            changeable=True,
        ),
    ] = 0
    global_batch_size: Annotated[
        int, setting("Rows of a step, over all replicas of all workers.", ge=1, lt=COUNT_LIMIT)
    ] = 32
    accumulation_steps: Annotated[
        int,
        setting(
            "Number of parts of a replica's batch that are computed one after the other to save memory. "
            "The step stays that of the global batch.",
            ge=1,
            lt=COUNT_LIMIT,
        ),
    ] = 1
    seed: Annotated[int, setting("Seed of initial weights and row order.", ge=0, lt=SEED_LIMIT)] = 0
    replicas: Annotated[
        int,
        setting(
            "Number of devices of this process: GPUs, or logical CPUs on a machine without a GPU. "
            "0 takes all GPUs, or one CPU.",
            ge=0,
            lt=COUNT_LIMIT,
            changeable=True,
        ),
    ] = 0
    precision: Annotated[
        Literal["auto", "float32", "float64", "mixed_bfloat16", "mixed_float16"],
        setting(
            "Precision of the computation. `auto` chooses by hardware: bfloat16 from compute capability 8.0, "
            "float16 from 7.0, else float32. A continued run keeps the precision it began with.",
            changeable=True,  # the precision in force is compared, which `auto` may not name
        ),
    ] = "auto"
    steps_per_loop: Annotated[
        int,
        setting(
            "Steps of one compiled call; 0 takes enough for about 65,536 rows.",
            ge=0,
            lt=COUNT_LIMIT,
            changeable=True,
        ),
    ] = 0
    log_every_steps: Annotated[
        int,
        setting("Steps averaged into one point of the loss curve.", ge=1, lt=COUNT_LIMIT, changeable=True),
    ] = 50
    reduction: Annotated[
        Literal["auto", "nccl", "hierarchical_copy", "one_device"],
        setting(
            "How MirroredStrategy sums gradients. `auto` leaves the choice to TensorFlow.", changeable=True
        ),
    ] = "auto"
    checkpoint_every_steps: Annotated[
        int,
        setting(
            "Steps between checkpoints, in addition to the one at every epoch's end; 0 for none.",
            ge=0,
            lt=COUNT_LIMIT,
            changeable=True,
        ),
    ] = 0
    checkpoint_every_minutes: Annotated[
        float,
        setting(
            "Minutes since the last save after which a checkpoint is saved; 0 turns it off.",
            ge=0,
            lt=COUNT_LIMIT,
            changeable=True,
        ),
    ] = 10.0
    join_timeout_secs: Annotated[
        float,
        setting(
            "Seconds that a worker waits at the start for the other workers of `TF_CONFIG`.",
            gt=0,
            lt=COUNT_LIMIT,
            changeable=True,
        ),
    ] = 600.0
    keep_checkpoints: Annotated[
        int,
        setting(
            "Number of newest checkpoints that are kept, in addition to the best on validation.",
            ge=1,
            lt=COUNT_LIMIT,
            changeable=True,
        ),
    ] = 3


@dataclass(frozen=True)
class Config:
    """All settings of a run, one frozen dataclass per part."""

    recipe: str = "article"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for name, kind in {"recipe": str, **PARTS}.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise UserError(f"{name} must be {kind.__name__}, got {shown(value)}")

    def to_json(self) -> str:
        """The whole configuration, as kept in a workdir's `config.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, for comparing two configurations and for printing."""
        flat = {"recipe": self.recipe}
        for part in PARTS:
            for key, value in dataclasses.asdict(getattr(self, part)).items():
                flat[f"{part}.{key}"] = value
        return flat


PARTS: dict[str, Any] = {
    "data": DataConfig,
    "model": ModelConfig,
    "objective": ObjectiveConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
}
# Dotted key -> declaration.
SETTINGS: dict[str, Setting] = {
    key: declared for part, kind in PARTS.items() for key, declared in declared_settings(part, kind).items()
}
