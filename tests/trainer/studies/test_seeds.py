"""Repeating a run with other seeds, and the trained baseline: what is trained, and what stays unchanged."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import reeltrain
from data_pipeline.errors import UserError
from data_pipeline.sources.generated import generate_ratings
from trainer.config import make_config
from trainer.config.recipes import RECIPES
from trainer.evaluation.slice_metrics import Recommender
from trainer.run.devices import max_replicas, set_up_devices
from trainer.studies.seeds import evaluate_seeds
from trainer.studies.trained_baseline import with_trained_baseline

pytestmark = pytest.mark.slow

SETTINGS = {"train.epochs": 2, "data.validation_fraction": 0.1}
QUICK = {"wanted": False, "num_negatives": 0, "ks": (5,)}


@pytest.fixture(scope="module")
def frame():
    return generate_ratings(num_users=40, num_items=60, num_ratings=800, seed=1).table.to_pandas()


@pytest.fixture
def workdir(frame, tmp_path):
    """The workdir of a run with seed 0."""
    reeltrain.train(frame, settings=SETTINGS, workdir=tmp_path / "run", quiet=True)
    return tmp_path / "run"


@pytest.fixture
def quick_baseline(monkeypatch):
    """Shortens the recipe `mf` to one epoch."""
    short = {**RECIPES["mf"], "train.epochs": 1}
    monkeypatch.setitem(RECIPES, "mf", short)


def test_each_seed_gives_the_metrics_of_a_training_with_that_seed(workdir, frame, tmp_path):
    spread = evaluate_seeds(str(workdir), 2, **QUICK)
    for seed in range(2):
        settings = {**SETTINGS, "train.seed": seed}
        run = reeltrain.train(frame, settings=settings, workdir=tmp_path / str(seed), quiet=True).run
        alone = reeltrain.evaluate(run, num_negatives=0, ks=(5,))
        assert spread.evaluations[seed].test == pytest.approx(alone.test, rel=1e-6)
    errors = [each.test["rmse"] for each in spread.evaluations]
    assert spread.mean["model"]["rmse"] == pytest.approx(np.mean(errors))
    assert spread.sd["model"]["rmse"] == pytest.approx(np.std(errors, ddof=1))
    assert spread.sd["popularity"]["ndcg@5"] == 0
    # It does not depend on the seed, so it is evaluated once.
    assert [("popularity" in each.baselines) for each in spread.evaluations] == [True, False]


def test_the_best_checkpoint_of_every_seed_can_be_evaluated(frame, tmp_path):
    # So many weights and such a high learning rate that it overfits before the last epoch.
    settings = {
        **SETTINGS,
        "train.epochs": 12,
        "model.embedding_dim": 64,
        "optimizer.learning_rate": 0.02,
    }
    reeltrain.train(frame, settings=settings, workdir=tmp_path / "run", quiet=True)
    spread = evaluate_seeds(tmp_path / "run", 2, best=True, **QUICK)
    for seed, folder in enumerate(("run", "run/seeds/1")):
        best = reeltrain.load_run(tmp_path / folder, best=True)
        assert best.step < reeltrain.load_run(tmp_path / folder).step
        assert spread.evaluations[seed].test["rmse"] == reeltrain.evaluate(best, ranking=False).test["rmse"]


class StopAfterOneEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
        self.model.stop_training = True


def test_a_run_that_stopped_early_is_refused_and_not_changed(frame, tmp_path):
    callbacks = [StopAfterOneEpoch()]
    run = reeltrain.train(
        frame, settings=SETTINGS, workdir=tmp_path / "run", callbacks=callbacks, quiet=True
    ).run
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(UserError, match=f"got step {run.step} of {2 * run.step}"):
        evaluate_seeds(tmp_path / "run", 1, **QUICK)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == files


def test_evaluating_the_runs_own_seed_changes_nothing(workdir):
    config = (workdir / "config.json").read_bytes()
    evaluate_seeds(workdir, 1, **QUICK)
    assert (workdir / "config.json").read_bytes() == config
    assert not (workdir / "seeds").exists()


def test_seeds_train_in_the_precision_of_the_run_not_of_this_machine(workdir):
    content = json.loads((workdir / "config.json").read_text())
    assert content["config"]["train"]["precision"] == "auto"
    content["precision"] = "mixed_bfloat16"  # as on a GPU
    (workdir / "config.json").write_text(json.dumps(content))
    evaluate_seeds(workdir, 2, **QUICK)
    of_seed = json.loads((workdir / "seeds" / "1" / "config.json").read_text())
    assert of_seed["precision"] == "mixed_bfloat16"


def test_an_interrupted_seed_is_not_evaluated(workdir, monkeypatch):
    steps = []

    def interrupted(*_arguments, **_how):
        steps.append(1)

    monkeypatch.setattr("trainer.studies.seeds.with_trained_baseline", interrupted)
    before = signal.getsignal(signal.SIGINT)

    def train(*arguments, **options):
        interrupt_when_caught(before)
        return reeltrain.train(*arguments, **options)

    monkeypatch.setattr("trainer.studies.trained_baseline.train", train)
    with pytest.raises(KeyboardInterrupt):
        evaluate_seeds(workdir, 3, **QUICK)
    assert len(steps) == 1  # the run's own seed


def interrupt_when_caught(before):
    """Sends SIGINT as soon as training catches it."""
    import threading

    def send():
        while signal.getsignal(signal.SIGINT) is before:
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.usefixtures("quick_baseline")
def test_the_trained_baseline_is_the_recipe_and_is_trained_once(workdir, caplog):
    first = with_trained_baseline(reeltrain.load_run(workdir), **{**QUICK, "wanted": None})
    baseline = reeltrain.load_run(workdir / "baselines" / "mf-seed-0")
    assert baseline.config.model == make_config("mf", RECIPES).model
    alone = reeltrain.evaluate(
        reeltrain.load_run(workdir),
        others={"mf": Recommender(baseline.scorer, baseline.ranker)},
        num_negatives=0,
        ks=(5,),
    )
    assert first.test == alone.test
    assert first.baselines["mf"] == alone.baselines["mf"]
    # The stored precision lets it be found again on a GPU, which would choose another one.
    assert json.loads((workdir / "baselines/mf-seed-0/config.json").read_text())["precision"] == "float32"
    assert [line.split()[0] for line in caplog.messages] == ["training"]


@pytest.mark.usefixtures("quick_baseline")
def test_a_run_of_the_recipe_with_other_settings_is_compared_with_the_baseline(frame, tmp_path):
    results = {}
    for factors in (32, 2):
        folder = tmp_path / str(factors)
        run = reeltrain.train(
            frame, recipe="mf", settings={"model.embedding_dim": factors}, workdir=folder, quiet=True
        ).run
        results[factors] = with_trained_baseline(run, **{**QUICK, "wanted": None}).baselines
    assert "mf" not in results[32]  # it would be the run itself
    assert "mf" in results[2]


@pytest.mark.parametrize(
    ("gpus", "batch", "accumulation", "replicas"),
    [(0, 32, 1, 1), (8, 2048, 1, 8), (6, 2048, 1, 4), (3, 2048, 1, 2), (8, 31, 1, 1), (8, 32, 16, 2)],
)
def test_max_replicas_divide_the_batch_evenly(monkeypatch, gpus, batch, accumulation, replicas):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda _kind: ["gpu"] * gpus)
    settings = [f"train.global_batch_size={batch}", f"train.accumulation_steps={accumulation}"]
    assert max_replicas(make_config("article", RECIPES, settings).train) == replicas


def test_the_command_prints_mean_and_spread(workdir):
    command = [sys.executable, "-m", "launch.main", "evaluate", str(workdir), "--seeds", "2", "--no-mf"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=True)
    fields = json.loads(done.stdout.splitlines()[-1])
    assert fields["seeds"] == [0, 1]
    assert set(fields["test"]) == set(fields["test_sd"])
    assert fields["test_sd"]["rmse"] > 0
    text = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert f"{fields['test']['rmse']:.4f} +-" in text


def test_devices_can_be_set_up_after_a_loaded_run_has_initialized_tensorflow_on_a_gpu(monkeypatch):
    """`evaluate` trains its baseline after loading the run; TensorFlow then refuses device changes."""

    def refuse(*_arguments):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    gpus = ["GPU:0", "GPU:1"]
    for name, answer in {
        "list_physical_devices": lambda _kind: gpus,
        "get_visible_devices": lambda _kind: gpus,
        "set_visible_devices": refuse,
        "experimental.get_memory_growth": lambda _gpu: None,
        "experimental.set_memory_growth": refuse,
        "experimental.get_device_details": lambda _gpu: {"compute_capability": (8, 0)},
    }.items():
        monkeypatch.setattr(f"tensorflow.config.{name}", answer)
    devices = set_up_devices(make_config("article", RECIPES, ["train.replicas=1"]).train)
    keras.config.set_dtype_policy("float32")
    assert (devices.local_replicas, devices.threads, devices.precision) == (1, 0, "mixed_bfloat16")
