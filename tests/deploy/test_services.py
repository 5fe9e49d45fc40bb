"""What hosts are told to serve."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coordinator.config import Settings
from deploy.services import decoder_service, template_key
from deploy.templates import TemplateKey
from model_registry.manifest import load_manifest
from model_registry.snapshot import Version

EXAMPLES = Path(__file__).parents[2] / "examples"


def published(package: Path) -> Version:
    manifest, at = load_manifest(package), datetime(2026, 11, 21, tzinfo=UTC)
    return Version(manifest.name, manifest.version, "0" * 64, manifest, package, True, at, "test")


@pytest.fixture
def one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("one_core")
def test_there_is_a_decoder_for_each_core_that_we_may_run_on(tmp_path: Path):
    spec = decoder_service(Settings(home=tmp_path), replica="decoder-0")

    assert spec.workers == 1


def test_the_setting_says_how_many_decoders_there_are(tmp_path: Path):
    spec = decoder_service(Settings(home=tmp_path, decoder_workers=3), replica="decoder-0")

    assert spec.workers == 3


def test_workers_with_a_framework_come_from_a_template_of_their_environment():
    key = template_key(published(EXAMPLES / "tagger"), python="/envs/1/bin/python")

    assert key == TemplateKey("/envs/1/bin/python", ("minion.frameworks.torch",))


def test_workers_without_one_are_started_plainly():
    assert template_key(published(EXAMPLES / "noop"), python="/envs/1/bin/python") is None


def test_workers_with_several_threads_are_started_plainly(tmp_path: Path):
    package = tmp_path / "tagger"
    shutil.copytree(EXAMPLES / "tagger", package)
    manifest = package / "model.toml"
    manifest.write_text(manifest.read_text().replace("threads = 1", "threads = 2"))

    version = published(package)

    assert version.manifest.resources.threads == 2
    assert template_key(version, python="/envs/1/bin/python") is None
