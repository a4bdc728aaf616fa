"""The wings import each other in one direction only."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# From the bottom to the top: a wing may import those on the lines above its own, and no others.
LAYERS = """
data_pipeline.advice data_pipeline.errors data_pipeline.logs data_pipeline.threads
data_pipeline.arguments data_pipeline.files
data_pipeline.settings
data_pipeline.config
data_pipeline.parsing data_pipeline.dataset
data_pipeline.features data_pipeline.batches data_pipeline.sources
data_pipeline.prepare
trainer.stateless_random trainer.config
trainer.models
trainer.objectives trainer.ranking
trainer.engine
trainer.workdir
trainer.cluster
trainer.run
trainer.evaluation
trainer.train trainer.serving
trainer.studies trainer.verification
launch.tables launch.metrics_file launch.users_progress
launch.evaluation_tables launch.options
launch.jobs launch.verbs
launch.cli
launch.main launch.reference
"""
LAYER_OF = {wing: number for number, line in enumerate(LAYERS.split("\n")) for wing in line.split()}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_name(path): path
    for package in ("data_pipeline", "trainer", "launch")
    for path in (ROOT / package).rglob("*.py")
}


def imported(path, *, when_loaded_only=False):
    """Our modules that a file imports: everywhere in it, or only when it is loaded."""
    nodes = ast.parse(path.read_text()).body
    if not when_loaded_only:
        nodes = [node for top in nodes for node in ast.walk(top)]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else node.module


def wing_of(module):
    return ".".join(module.split(".")[:2])


def wrong_arrows(modules):
    """Imports of a wing that is not on a lower layer; `modules`: name -> what it imports."""
    return {
        f"{module} -> {other}"
        for module, others in modules.items()
        for other in others
        if wing_of(module) != wing_of(other) and LAYER_OF[wing_of(module)] <= LAYER_OF[wing_of(other)]
    }


def test_each_wing_has_a_layer():
    wings = {wing_of(module) for module in FILES if "." in module}
    assert sorted(wings - LAYER_OF.keys()) == []
    assert sorted(LAYER_OF.keys() - wings) == []


def test_wings_import_only_lower_layers():
    assert (
        wrong_arrows({module: list(imported(path)) for module, path in FILES.items() if "." in module})
        == set()
    )


def test_no_module_imports_itself_by_a_detour():
    graph = {module: set(imported(path, when_loaded_only=True)) for module, path in FILES.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_an_arrow_back_up_is_found():
    arrows = {
        "trainer.workdir.checkpoint": ["trainer.engine.engine", "trainer.run.devices"],
        "trainer.run.loop": [
            "trainer.workdir.checkpoint",
            "trainer.run.session",
            "trainer.evaluation.slices",
        ],
    }
    assert wrong_arrows(arrows) == {
        "trainer.workdir.checkpoint -> trainer.run.devices",
        "trainer.run.loop -> trainer.evaluation.slices",
    }
    with pytest.raises(graphlib.CycleError):
        tuple(graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())
