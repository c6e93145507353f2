"""lightly's loss classes without torchvision, which they do not use.

lightly's packages import names of torchvision, whose releases do not fit the CPU build of PyTorch
that the oracles use. While the losses are imported, empty stand-ins answer for those names;
afterwards they are gone again, so that nobody else takes torchvision for installed.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path


class _StandIn(types.ModuleType):
    """A module that has every name; each is a class that does nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _bare_package(name: str) -> types.ModuleType:
    """A package of lightly with its files, but without what its `__init__` imports."""
    root = Path(importlib.util.find_spec("lightly").origin).parent
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    return package


_names = ("lightly.loss", "lightly.models", "lightly.models.modules")
_temporary = {name: _StandIn(name) for name in ("torchvision", "torchvision.ops")}
sys.modules |= _temporary | {name: _bare_package(name) for name in _names}
try:
    NTXentLoss = importlib.import_module("lightly.loss.ntx_ent_loss").NTXentLoss
    BarlowTwinsLoss = importlib.import_module("lightly.loss.barlow_twins_loss").BarlowTwinsLoss
    VICRegLoss = importlib.import_module("lightly.loss.vicreg_loss").VICRegLoss
    NegativeCosineSimilarity = importlib.import_module(
        "lightly.loss.negative_cosine_similarity"
    ).NegativeCosineSimilarity
finally:
    for _name in _temporary:
        del sys.modules[_name]
