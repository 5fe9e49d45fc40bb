from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.packages import variant
from benchmarks.servers import EXAMPLES


def test_a_line_that_a_manifest_does_not_have_is_not_replaced_in_silence(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="speed = 1"):
        variant(EXAMPLES / "noop", tmp_path, {"speed = 1": "speed = 2"})
