"""What the example packages promise, read by the parser that `publish` uses."""

from pathlib import Path

import pytest

from model_registry.package import load_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = sorted(manifest.parent.name for manifest in EXAMPLES.glob("*/model.toml"))
LEARNED = ["aesthetics", "caption", "caption-frozen", "digits", "tagger"]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_example_has_a_manifest_that_publishing_accepts(name):
    assert load_manifest(EXAMPLES / name).name == name


def test_three_models_are_part_of_an_analysis_and_take_a_photo():
    manifests = [load_manifest(EXAMPLES / name) for name in PACKAGES]

    analysing = [manifest for manifest in manifests if manifest.analyze]

    assert [manifest.name for manifest in analysing] == ["aesthetics", "caption", "tagger"]
    assert all(manifest.takes_photo for manifest in analysing)


@pytest.mark.parametrize("name", LEARNED)
def test_every_learned_example_states_its_quality_and_its_limits(name):
    readme = (EXAMPLES / name / "README.md").read_text()
    quality = load_manifest(EXAMPLES / name).quality

    assert quality is not None
    assert 0 < quality.value <= 1
    assert f"{quality.value:g}" in readme
    assert "It can" in readme
    assert "It cannot" in readme


@pytest.mark.parametrize("name", LEARNED)
def test_weights_are_small_enough_to_be_cloned_by_everybody(name):
    weights = [file for file in (EXAMPLES / name / "weights").rglob("*") if file.is_file()]

    assert 0 < sum(file.stat().st_size for file in weights) < 2_000_000


@pytest.mark.parametrize("name", LEARNED)
def test_every_requirement_of_an_example_is_pinned(name):
    lines = (EXAMPLES / name / "requirements.txt").read_text().splitlines()

    assert lines
    assert all("==" in line for line in lines)
