"""`plan`, at the command line."""

from __future__ import annotations

import pytest
import typer
from conftest import Command

from demitasse.cli.options import parse_factor, parse_span


@pytest.mark.parametrize(
    ("text", "factor"), [("x3", 3.0), ("x0.5", 0.5), ("+20%", 1.2), ("-50%", 0.5)]
)
def test_a_factor_is_read(text: str, factor: float) -> None:
    assert parse_factor(text, 0.01, 100) == pytest.approx(factor)


@pytest.mark.parametrize("text", ["3", "x", "x0", "-100%", "20%", "x1000", "+20", ""])
def test_what_is_no_factor_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no factor from"):
        parse_factor(text, 0.01, 100)


@pytest.mark.parametrize(("text", "seconds"), [("1h", 3600), ("30m", 1800), ("90s", 90)])
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["1d", "-1h", "0s", "h", ""])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no length of time"):
        parse_span(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["noop"], "start the platform with `demitasse up`", id="nothing runs"),
        pytest.param(["nop"], "there is noop", id="unknown model"),
        pytest.param(["noop", "--rate", "3"], "write x3, +20% or -50%", id="no factor"),
        pytest.param(["noop", "--last", "1d"], "write 90s, 30m or 1h", id="no time"),
        pytest.param(
            ["noop", "--promise", "3s", "--queue-limit", "5"], "cannot both govern", id="both"
        ),
    ],
)
def test_what_cannot_be_planned_is_said(
    demitasse: Command, noop: object, arguments: list[str], said: str
) -> None:
    demitasse("publish", noop)

    done = demitasse("plan", *arguments)

    assert done.returncode != 0
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
