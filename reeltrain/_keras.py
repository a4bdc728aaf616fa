"""Registers our layers and optimizers as soon as Keras is imported, before or after `import reeltrain`.

`keras.models.load_model` finds only classes that are registered. Importing Keras for that would make
`import reeltrain` slow, so an import of Keras that comes later is followed by ours.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

# The files with registered classes, not `reeltrain.layers`: one of them may be importing Keras, half loaded.
_REGISTERING = (
    "trainer.models.layers",
    "trainer.models.feature_layers",
    "trainer.models.wide_deep",
    "trainer.objectives.ordinal",
    "trainer.engine.optimizers",
)


def register_with_keras() -> None:
    """Registers now if Keras is imported, otherwise when it will be."""
    if "keras" not in sys.modules:
        sys.meta_path.insert(0, _AfterKeras())
    elif not getattr(sys.modules["keras"].__spec__, "_initializing", False):
        _register()
    # Else Keras is importing us (through a plugin); whoever loads a model names what it needs.


def _register() -> None:
    if sys.modules["keras"].backend.backend() == "tensorflow":  # ours need it
        for name in _REGISTERING:
            importlib.import_module(name)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras as the other finders do, with a loader that registers our classes at the end."""

    _is_asking = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "keras" or self._is_asking:
            return None
        self._is_asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader, self)
        return spec


class _Registering(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, finder: _AfterKeras) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _register()
