"""The configuration of a run: defaults (the article's) < recipe < `--set part.key=value`."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from data_pipeline.config import COUNT_LIMIT, SEED_LIMIT, DataConfig
from data_pipeline.errors import UserError

# From so many rows on, `model.tables=auto` trains a table sparsely (measured, docs/LOG.md 2026-11-24).
SPARSE_FROM_ROWS = 30_000
# What `trainer.models` builds; named here so that nothing loads TensorFlow to check a setting.
MODEL_NAMES = ("bias", "mf", "mlp", "neumf", "wide-deep", "two-tower")


@dataclass(frozen=True)
class ModelConfig:
    """Which model, and its sizes; a model ignores what it has no part for.

    Attributes:
        name: one of `MODEL_NAMES`, or `module:function` of your own (see `trainer.models`).
        embedding_dim: width of the user's and of the item's embedding.
        hidden_units: widths of the dense layers; `none` for no layer.
        dropout: share of each hidden layer's outputs that training sets to 0.
        embedding_l2: penalty on each scored pair's two embedding rows, added to its loss:
            embedding_l2 (|user row|^2 + |item row|^2).
        bias_l2: the same for the biases of a user and of an item.
        features: which side features `wide-deep` and `two-tower` read: `all`, `none` or names with commas.
        tables: how embedding tables are trained: `dense` updates every row in every step, `sparse` only the
            rows in the batch, `auto` chooses by size.
    """

    name: str = "mlp"
    embedding_dim: int = 5
    hidden_units: tuple[int, ...] = (128, 32)
    dropout: float = 0.0
    embedding_l2: float = 0.0
    bias_l2: float = 0.0
    features: str = "all"
    tables: Literal["auto", "dense", "sparse"] = "auto"

    def is_sparse(self, num_rows: int) -> bool:
        """Whether an embedding table of so many rows is trained sparsely."""
        return self.tables == "sparse" or (self.tables == "auto" and num_rows >= SPARSE_FROM_ROWS)


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a model is trained for; formulas in `trainer.objectives`.

    Attributes:
        name: `mse` and `ordinal` predict ratings. The others rank: they compare what a user has rated with
            what not. `bce`, `bpr` and `sampled-softmax` draw items that the user has not rated,
            `in-batch-softmax` takes the other items of the batch.
        negatives: items drawn for each training row.
        sampler: `uniform` draws from all items that the user has not rated; `popularity` in proportion to
            ratings, and what the user has rated counts as not drawn.
        positive_from: a ranking objective learns from rows with at least this rating, and they are what an
            evaluation calls relevant; none = all rows.
    """

    name: Literal["mse", "ordinal", "bce", "bpr", "sampled-softmax", "in-batch-softmax"] = "mse"
    negatives: int = 4
    sampler: Literal["uniform", "popularity"] = "uniform"
    positive_from: float | None = None

    @property
    def is_ranking(self) -> bool:
        """Whether scores only order a user's items."""
        return self.name not in ("mse", "ordinal")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer; formulas in `trainer.engine.engine.optimizers`.

    Attributes:
        name: a key of `trainer.engine.engine.optimizers.OPTIMIZERS`.
        momentum: of `sgd`.
        weight_decay: decoupled (as AdamW), times the learning rate; in sparse tables, of the batch's rows.
        global_clipnorm: longest norm of all gradients together; none = unlimited.
    """

    name: Literal["adam", "adagrad", "sgd"] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    global_clipnorm: float | None = None


@dataclass(frozen=True)
class TrainConfig:
    """The loop.

    Attributes:
        epochs: passes over the training rows.
        max_steps: ends the run earlier; 0 = after the last epoch.
        global_batch_size: rows of a step, over all replicas of all workers.
        accumulation_steps: parts of a replica's batch that are computed one after the other, to save memory;
            the step stays that of the global batch.
        seed: makes initial weights and row order.
        replicas: devices of this process; 0 = all its GPUs, or one CPU. Without a GPU, so many logical CPUs.
        precision: `auto` chooses by hardware: bfloat16 compute from compute capability 8.0, float16 from 7.0,
            else float32.
        steps_per_loop: K, the steps of one compiled call; 0 = enough for about 65,536 rows.
        log_every_steps: steps averaged into one point of the loss curve.
        reduction: how MirroredStrategy sums gradients; `auto` leaves it to TensorFlow.
        checkpoint_every_steps: saves after this many steps, too, not only at an epoch's end; 0 = does not.
        checkpoint_every_minutes: saves when so much time has passed since the last save; 0 = does not.
        keep_checkpoints: how many of the newest stay; the best on validation stays, too.
    """

    epochs: int = 5
    max_steps: int = 0
    global_batch_size: int = 32
    accumulation_steps: int = 1
    seed: int = 0
    replicas: int = 0
    precision: Literal["auto", "float32", "float64", "mixed_bfloat16", "mixed_float16"] = "auto"
    steps_per_loop: int = 0
    log_every_steps: int = 50
    reduction: Literal["auto", "nccl", "hierarchical_copy", "one_device"] = "auto"
    checkpoint_every_steps: int = 0
    checkpoint_every_minutes: float = 10.0
    keep_checkpoints: int = 3


@dataclass(frozen=True)
class Config:
    """All of a run's settings, one frozen dataclass a part."""

    recipe: str = "article"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

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

_POSITIVE = ("optimizer.learning_rate", "optimizer.global_clipnorm")
_SHARES = ("model.dropout", "optimizer.momentum")
# Values below these are refused; NaN and infinity always are.
_LOWEST: dict[str, float] = {
    "model.embedding_dim": 1,
    "model.hidden_units": 1,
    "model.embedding_l2": 0,
    "model.bias_l2": 0,
    "objective.negatives": 1,
    "optimizer.weight_decay": 0,
    "train.epochs": 1,
    "train.max_steps": 0,
    "train.global_batch_size": 1,
    "train.accumulation_steps": 1,
    "train.checkpoint_every_steps": 0,
    "train.checkpoint_every_minutes": 0,
    "train.keep_checkpoints": 1,
    "train.seed": 0,
    "train.replicas": 0,
    "train.steps_per_loop": 0,
    "train.log_every_steps": 1,
}
_OWN_MODEL = re.compile(r"\w+(?:\.\w+)*:[\w.<>]+")


def make_config(
    recipe: str, recipes: Mapping[str, Mapping[str, Any]], settings: Iterable[str] = ()
) -> Config:
    """The configuration of a recipe with `part.key=value` settings on top.

    >>> make_config("r", {"r": {"train.epochs": 3}}, ["model.hidden_units=8,4"]).model.hidden_units
    (8, 4)

    Raises:
        UserError: unknown recipe or key, or a value of the wrong type or out of its range.
    """
    if recipe not in recipes:
        raise UserError(f"recipe must be one of {', '.join(recipes)}, got {recipe!r}")
    values: dict[str, Any] = dict(recipes[recipe])
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UserError(f"a setting has the form part.key=value, got {setting!r}")
        values[key.strip()] = _parse(key.strip(), text.strip())
    return _build(values, recipe=recipe)


def config_from_json(text: str) -> Config:
    """Reads back `Config.to_json`; keys unknown to this version are errors."""
    content = json.loads(text)
    missing = [part for part in PARTS if part not in content]
    if missing:
        raise UserError(f"a configuration has the parts {', '.join(PARTS)}, got none of {missing}")
    values = {f"{part}.{key}": value for part in PARTS for key, value in content[part].items()}
    values["model.hidden_units"] = tuple(values["model.hidden_units"])
    return _build(values, recipe=content["recipe"])


def _build(values: Mapping[str, Any], *, recipe: str) -> Config:
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for key, value in values.items():
        _type_of(key)
        part, _, name = key.partition(".")
        if part != "data":  # which looks at its values itself
            _check_range(key, value)
        parts[part][name] = value
    return Config(recipe, **{part: kind(**parts[part]) for part, kind in PARTS.items()})


def _type_of(key: str) -> Any:
    """The annotated type of a dotted key."""
    part, _, name = key.partition(".")
    part_type = PARTS.get(part)
    hints = typing.get_type_hints(part_type) if part_type else {}
    if name not in hints:
        known = [k for k in Config().flat() if k.startswith(f"{part}.")] or list(PARTS)
        raise UserError(f"unknown setting {key!r}; known: {', '.join(known)}")
    return hints[name]


def _parse(key: str, text: str) -> Any:
    """Text from the command line as the key's type."""
    wanted = _type_of(key)
    try:
        if typing.get_origin(wanted) is tuple:
            text = "" if text == "none" else text.strip("()[]")
            return tuple(int(part) for part in text.split(",") if part.strip())
        if typing.get_origin(wanted) is Literal:
            return text
        if typing.get_origin(wanted) is types.UnionType:
            return None if text == "none" else float(text)
        return wanted(text)
    except ValueError:
        name = {tuple: "whole numbers with commas between", types.UnionType: "float or none"}.get(
            typing.get_origin(wanted), getattr(wanted, "__name__", "")
        )
        raise UserError(f"{key} must be {name}, got {text!r}") from None


def _check_range(key: str, value: Any) -> None:
    wanted = _type_of(key)
    if typing.get_origin(wanted) is Literal and value not in typing.get_args(wanted):
        raise UserError(f"{key} must be one of {', '.join(typing.get_args(wanted))}, got {value!r}")
    if key == "model.name" and value not in MODEL_NAMES and not _OWN_MODEL.fullmatch(value):
        raise UserError(f"{key} must be one of {', '.join(MODEL_NAMES)} or module:function, got {value!r}")
    if key == "objective.positive_from" and value is not None and not math.isfinite(value):
        raise UserError(f"{key} must be a number or none, got {value}")
    positive = key in _POSITIVE and value is not None
    if positive and not 0 < value < float("inf"):
        raise UserError(f"{key} must be a positive number, got {value}")
    if key in _SHARES and not 0 <= value < 1:
        raise UserError(f"{key} must be at least 0 and below 1, got {value}")
    limit = SEED_LIMIT if key.endswith("seed") else COUNT_LIMIT
    for number in value if isinstance(value, tuple) else (value,):
        if key in _LOWEST and not number >= _LOWEST[key]:  # NaN, too
            raise UserError(f"{key} must be at least {_LOWEST[key]}, got {number}")
        if key in _LOWEST and number >= limit:
            raise UserError(f"{key} must be below {limit}, got {number}")
