"""Which settings a platform that runs takes over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.config import SETTINGS, Settings
from deploy.reloading import FIXED, NotReloaded, changed

BEFORE = Settings(home=Path("/home"))


def test_what_has_changed_is_named():
    assert changed(BEFORE, replace(BEFORE, max_images=3, head_timeout=1.0)) == [
        "max_images",
        "head_timeout",
    ]
    assert changed(BEFORE, BEFORE) == []


def test_one_that_is_fixed_has_all_refused():
    with pytest.raises(NotReloaded, match=r"^port, templates cannot change while"):
        changed(BEFORE, replace(BEFORE, port=1, templates=1, max_images=3))


def test_all_that_are_fixed_exist():
    assert SETTINGS.keys() >= FIXED
