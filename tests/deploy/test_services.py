"""What hosts are told to serve."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from coordinator import config
from deploy.services import decoder_service, model_service, template_key
from deploy.templates import TemplateKey
from minion.host.spec import ServiceSpec, read_spec, write_spec
from model_registry.package import load_manifest
from model_registry.settings import Settings
from model_registry.snapshot import ModelEntry, Version
from tests.packages import variant
from wire.torch_options import TorchOptions

EXAMPLES = Path(__file__).parents[2] / "examples"


def published(package: Path) -> Version:
    manifest, at = load_manifest(package), datetime(2026, 11, 21, tzinfo=UTC)
    return Version(manifest.name, manifest.version, "0" * 64, manifest, package, True, at, "test")


def told(package: Path) -> ServiceSpec:
    """What a host of this package reads in its file."""
    version = published(package)
    spec = model_service(
        ModelEntry(version.model, {version.version: version}, {}, Settings()),
        version,
        replica="tagger-0",
        python="/envs/1/bin/python",
        template=None,
    )
    write_spec(spec, package / "spec.json")
    return read_spec(package / "spec.json")


@pytest.fixture
def one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("one_core")
def test_there_is_a_decoder_for_each_core_that_we_may_run_on(tmp_path: Path):
    spec = decoder_service(config.Settings(home=tmp_path), replica="decoder-0")

    assert spec.workers == 1


def test_the_setting_says_how_many_decoders_there_are(tmp_path: Path):
    spec = decoder_service(config.Settings(home=tmp_path, decoder_workers=3), replica="decoder-0")

    assert spec.workers == 3


def test_decoders_are_told_what_a_photo_may_take(tmp_path: Path):
    settings = config.Settings(
        home=tmp_path, max_image_pixels=100_000_000, decode_cpu=3.0, decode_timeout=4.0
    )

    spec = decoder_service(settings, replica="decoder-0")

    assert spec.options == {"max_pixels": 100_000_000, "cpu_seconds": 3.0}
    assert spec.predict_timeout_seconds == 4.0
    assert spec.memory_bytes is not None
    assert spec.memory_bytes > 6.25 * 100_000_000  # what a photo may take: ADR 24


def test_workers_with_a_framework_come_from_a_template_of_their_environment():
    key = template_key(published(EXAMPLES / "tagger"), python="/envs/1/bin/python")

    assert key == TemplateKey("/envs/1/bin/python", ("minion.frameworks.torch",))


def test_workers_without_one_come_from_a_template_that_imports_what_every_worker_does():
    key = template_key(published(EXAMPLES / "noop"), python="/envs/1/bin/python")

    assert key == TemplateKey("/envs/1/bin/python", ())


def test_workers_with_several_threads_are_started_plainly(tmp_path: Path):
    version = published(variant(EXAMPLES / "tagger", tmp_path, {"threads = 1": "threads = 2"}))

    assert version.manifest.resources.threads == 2
    assert template_key(version, python="/envs/1/bin/python") is None


def test_a_host_is_told_the_device_and_the_options_of_torch(tmp_path: Path):
    torch = '\n[torch]\nprecision = "bfloat16"\ncompile = "default"\n'
    device = {"threads = 1": 'threads = 1\ndevice = "cuda:1"'}
    spec = told(variant(EXAMPLES / "tagger", tmp_path, device, more=torch))

    assert spec.device == "cuda:1"
    assert spec.torch == TorchOptions("bfloat16", "default")


def test_a_host_is_told_the_spares_and_what_is_declared_of_answers(tmp_path: Path):
    spares = {"threads = 1": "threads = 1\nspares = 2"}
    package = variant(EXAMPLES / "tagger", tmp_path, spares)
    spec = told(package)

    assert spec.spares == 2
    assert spec.outputs.keys() == {"tags", "library"}
    assert spec.outputs == published(package).manifest.outputs


def test_a_spec_with_an_unknown_precision_is_refused_with_its_name(tmp_path: Path):
    spec = decoder_service(config.Settings(home=tmp_path), replica="decoder-0")
    write_spec(spec, tmp_path / "spec.json")
    text = (tmp_path / "spec.json").read_text()
    assert '"precision": null' in text
    (tmp_path / "spec.json").write_text(text.replace('"precision": null', '"precision": "half"'))

    with pytest.raises(msgspec.ValidationError, match=r"torch\.precision is 'half'"):
        read_spec(tmp_path / "spec.json")
