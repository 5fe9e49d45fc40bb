"""What hosts are told to serve."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.config import Settings
from deploy.services import decoder_service


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
