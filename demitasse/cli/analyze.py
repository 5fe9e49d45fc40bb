"""`analyze`: photos through the running platform, a few at a time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import open_console, print_json, print_table
from demitasse.cli.failures import api_explanation
from demitasse.cli.options import AsJson, Home, listed

if TYPE_CHECKING:
    from coordinator.config import Settings
    from demitasse.client import Client

#: Enough to keep decoders and batches busy, far below any queue limit.
CONCURRENCY = 8


Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Image files.")]
Models = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[@VERSION],...", help="Instead of those that are marked for /analyze."
    ),
]
Required = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Without these models a photo counts as failed."),
]
Unneeded = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...", help="Do not wait for these models once the others have answered."
    ),
]
Timeout = Annotated[float | None, typer.Option(min=0.001, help="Seconds that one photo may take.")]
Class = Annotated[
    str | None,
    typer.Option(
        "--class",
        metavar="CLASS",
        help="interactive, bulk or shadow: each waits while somebody of the one before does.",
    ),
]
Caller = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Who asks, among whom models are shared. Default: by address."
    ),
]
Url = Annotated[
    str | None, typer.Option(help="Of the platform; default: the one that runs on this home.")
]


class Outcome(NamedTuple):
    """What became of one file: the part of the answer that is its own, or why there is none."""

    file: Path
    image: dict[str, Any]
    failure: str | None


def analyze(
    files: Files,
    models: Models = None,
    require: Required = None,
    optional: Unneeded = None,
    timeout: Timeout = None,
    class_: Class = None,
    caller: Caller = None,
    url: Url = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Send photos and show what the models say. Exit status 1: a photo had no answer."""
    from demitasse.client import Client

    asked = {
        "models": listed(models),
        "require": listed(require),
        "optional": listed(optional),
        "timeout": timeout,
    }
    address = url or _running_url(load_settings(home=home))
    with Client(address, class_=class_, caller=caller) as client:
        one = partial(_analyze_one, client, asked)
        outcomes = list(_with_progress(one, files))
    _show(outcomes, as_json=as_json)
    if any(outcome.failure is not None for outcome in outcomes):
        raise typer.Exit(1)


def _show(outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    if as_json:
        print_json([_document(outcome) for outcome in outcomes])
    else:
        rows = [row for outcome in outcomes for row in _rows(outcome)]
        print_table(("file", "model", "version", "answer"), rows)


def _running_url(settings: Settings) -> str:
    from deploy.machine import address
    from deploy.status import read_status

    return read_status(settings.home).url or f"http://{address(settings.host, settings.port)}"


def _with_progress(one: Callable[[Path], Outcome], files: Sequence[Path]) -> Iterator[Outcome]:
    """The outcomes in the order of the files; a bar on a terminal while they come."""
    from rich.progress import track

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        console = open_console(sys.stderr)
        try:
            yield from track(
                pool.map(one, files),
                total=len(files),
                description="photos",
                console=console,
                disable=len(files) == 1 or not console.is_terminal,
            )
        except BaseException:
            pool.shutdown(cancel_futures=True)  # those that are under way end first
            raise


def _analyze_one(client: Client, asked: Mapping[str, Any], file: Path) -> Outcome:
    from demitasse.client import ApiError

    try:
        answer = client.analyze(file, **asked)
    except ApiError as error:
        if error.code == "unreachable":
            raise  # it will not be there for the other files either
        return Outcome(file, {"error": error.problem}, api_explanation(error))
    image = answer["images"][0]
    failure = image["error"]["detail"] if "error" in image else None
    return Outcome(file, image, failure)


def _rows(outcome: Outcome) -> list[tuple[object, ...]]:
    if outcome.failure is not None:
        return [(outcome.file, None, None, f"failed: {outcome.failure}")]
    return [
        (outcome.file, name, entry["version"], _answer(entry))
        for name, entry in outcome.image["models"].items()
    ]


def _answer(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"{entry['error']['code']}: {entry['error']['detail']}"
    if "pending" in entry:
        return "pending"
    return ", ".join(f"{name} {_brief(value)}" for name, value in entry["output"].items())


def _brief(value: Any) -> str:
    """A field of an answer in one line, for people: `--json` has every digit."""
    return value if isinstance(value, str) else json.dumps(_rounded(value), ensure_ascii=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def _document(outcome: Outcome) -> dict[str, Any]:
    failure = {} if outcome.failure is None else {"failure": outcome.failure}
    return {"file": str(outcome.file), **outcome.image, **failure}
