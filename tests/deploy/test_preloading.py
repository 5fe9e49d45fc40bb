"""What a template may import for a package, read from its entry module."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.preloading import preloads

TORCH = "minion.frameworks.torch"
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("example", "entry", "modules"),
    [
        ("tagger", "tagger:Tagger", (TORCH,)),
        ("aesthetics", "aesthetics:Aesthetics", ("minion.frameworks.keras",)),
        ("digits", "digits:Digits", ()),
        ("noop", "noop:Noop", ()),
    ],
)
def test_of_the_examples(example: str, entry: str, modules: tuple[str, ...]):
    assert preloads(EXAMPLES / example, entry) == modules


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import torch", (TORCH,)),
        ("from minion.frameworks.torch import TorchModel\nimport torch", (TORCH,)),
        ("import torch.nn.functional as f", (TORCH,)),
        ("from sklearn.ensemble import RandomForestClassifier", ("sklearn",)),
        (
            '"""Says what it is for."""\nfrom __future__ import annotations\nimport torch',
            (TORCH,),
        ),
        ("import network, torch", (TORCH,)),
        ("import os\nos.environ['A'] = '1'\nimport torch", ()),
        ("import torch\nLIMIT = 3\nimport tensorflow", (TORCH,)),
        ("def load():\n    import torch", ()),
        ("try:\n    import torch\nexcept ImportError:\n    pass", ()),
        ("import keras", ()),
        ("from . import torch", ()),
        ("from .torch import nn", ()),
        ("import torchlight", ()),
        ("import (", ()),
        ("import torch\0", ()),
    ],
)
def test_of_a_source(tmp_path: Path, source: str, modules: tuple[str, ...]):
    (tmp_path / "m.py").write_text(source)

    assert preloads(tmp_path, "m:M") == modules


def test_of_a_module_in_a_folder(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "__init__.py").write_text("import torch\n")

    assert preloads(tmp_path, "a.b:M") == (TORCH,)


def test_of_a_module_that_is_not_there(tmp_path: Path):
    assert preloads(tmp_path, "m:M") == ()
