"""A run again with other seeds, and the baseline that is trained, both kept for the next evaluation."""

import json
import statistics
import subprocess
import sys

import pytest

import reeltrain
import runs
from trainer.repeats import evaluate_seeds, with_trained_baseline

pytestmark = pytest.mark.slow
SETTINGS = {"model.name": "bias", "train.epochs": 1, "train.global_batch_size": 128, "train.seed": 1}


@pytest.fixture
def run(tmp_path):
    dataset = runs.prepare_generated(tmp_path / "dataset", num_train=2000)
    return reeltrain.train(dataset, settings=SETTINGS, workdir=tmp_path / "run", quiet=True).run


def test_seeds_are_those_of_training_and_the_split_stays(run):
    told = []
    spread = evaluate_seeds(run.workdir, 3, wanted=False, ks=(5,), num_negatives=0, say=told.append)
    values = [each.test["rmse"] for each in spread.evaluations]
    assert len(set(values)) == 3
    assert spread.mean["model"]["rmse"] == pytest.approx(statistics.mean(values))
    assert spread.sd["model"]["rmse"] == pytest.approx(statistics.stdev(values))
    # The run itself is seed 1; baselines that are not trained have no spread, as the rows are the same.
    assert values[1] == reeltrain.evaluate(run, ks=(5,), num_negatives=0).test["rmse"]
    assert spread.sd["user_item_bias"]["rmse"] == 0
    alone = reeltrain.train(
        run.dataset, settings={**SETTINGS, "train.seed": 2}, workdir=run.workdir.parent / "alone", quiet=True
    )
    assert values[2] == alone.test_rmse
    # A second time nothing is trained.
    steps = [len((run.workdir / "seeds" / seed / "metrics.jsonl").read_text()) for seed in "02"]
    assert evaluate_seeds(run.workdir, 3, wanted=False, ks=(5,), num_negatives=0).mean == spread.mean
    assert steps == [len((run.workdir / "seeds" / seed / "metrics.jsonl").read_text()) for seed in "02"]


def test_the_trained_baseline_is_a_run_of_its_recipe_on_the_same_rows(run):
    result = with_trained_baseline(run, ks=(5,), num_negatives=0)
    kept = reeltrain.load_run(run.workdir / "baselines" / "mf-seed-1")
    assert kept.config.recipe == "mf"
    assert kept.dataset.fingerprint == run.dataset.fingerprint
    assert result.baselines["mf"] == reeltrain.evaluate(kept, ks=(5,), num_negatives=0).test
    assert "mf" not in with_trained_baseline(run, wanted=False, ranking=False).baselines


def test_the_command_prints_mean_and_spread(run):
    command = [sys.executable, "-m", "launch.main", "evaluate", str(run.workdir), "--seeds", "2", "--no-mf"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=True)
    fields = json.loads(done.stdout.splitlines()[-1])
    assert fields["seeds"] == [0, 1]
    assert set(fields["test"]) == set(fields["test_sd"])
    assert fields["test_sd"]["rmse"] > 0
    text = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert f"{fields['test']['rmse']:.4f} +-" in text
