"""`tune`, `alias`, `serve`, `retire`: changes to what is served, while it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import admission, milliseconds, say
from demitasse.cli.operations import open_operations
from demitasse.cli.options import Home, ModelName, parse_duration, parse_pinned, parse_promise

if TYPE_CHECKING:
    from model_registry.settings import SettingsChange

Reference = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="Such as tagger@1.0.0.")]


def tune(
    name: ModelName,
    queue_limit: Annotated[
        int | None,
        typer.Option(help="Examples queued plus running above which callers get a 429."),
    ] = None,
    promise: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Within which whoever is let in is answered, such as 5s; the limit follows from "
            "it. In place of --queue-limit.",
        ),
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="The most examples in one batch.")
    ] = None,
    max_queue_delay: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long the oldest example may wait for company, such as 5ms.",
        ),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Drop all that was tuned: as in the model.toml again.")
    ] = False,
    home: Home = None,
) -> None:
    """Change a model's limits. Nothing restarts; what is not named stays as it is."""
    change = _change(queue_limit, promise, max_batch_size, max_queue_delay)
    if (change is None) != reset:
        raise typer.BadParameter(
            "--reset drops all that was tuned; give it alone"
            if reset
            else "nothing to change; give --promise, --queue-limit, --max-batch-size, "
            "--max-queue-delay or --reset"
        )
    with open_operations(load_settings(home=home)) as operations:
        settings = operations.reset(name) if change is None else operations.tune(name, change)
    say(
        f"{name}: {admission(settings.promise, settings.queue_limit)}, "
        f"max batch size {settings.max_batch_size}, "
        f"max queue delay {milliseconds(settings.max_queue_delay)}; {operations.when}"
    )


def _change(
    queue_limit: int | None,
    promise: str | None,
    max_batch_size: int | None,
    max_queue_delay: str | None,
) -> SettingsChange | None:
    """What the options ask for; None where none of them was given."""
    from model_registry.settings import SettingsChange

    if (queue_limit, promise, max_batch_size, max_queue_delay) == (None, None, None, None):
        return None
    if queue_limit is not None and promise is not None:
        raise typer.BadParameter("give either --queue-limit or --promise, the other follows")
    return SettingsChange(
        queue_limit=queue_limit,
        promise=None if promise is None else parse_promise(promise),
        max_batch_size=max_batch_size,
        max_queue_delay=None if max_queue_delay is None else parse_duration(max_queue_delay),
    )


def alias(
    name: ModelName,
    alias: Annotated[str, typer.Argument(help="`default`, `canary` or any other name.")],
    version: Annotated[
        str | None, typer.Argument(help="The version that it should mean.", show_default=False)
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take the alias away; its version stays served.")
    ] = False,
    home: Home = None,
) -> None:
    """Point an alias to a version, which is served from then on; so stays the one before."""
    if (version is None) != remove:
        raise typer.BadParameter("give either the version that it should mean, or --remove")
    with open_operations(load_settings(home=home)) as operations:
        if version is None:
            operations.remove_alias(name, alias)
        else:
            operations.set_alias(name, alias, version)
    now = "is removed" if version is None else f"means {version}"
    say(f"{name}@{alias} {now}; {operations.when}")


def serve(reference: Reference, home: Home = None) -> None:
    """Serve a version, beside those that are served already."""
    _set_serving(reference, True, home)


def retire(reference: Reference, home: Home = None) -> None:
    """Serve a version no longer. It stays published; one that an alias means is refused."""
    _set_serving(reference, False, home)


def _set_serving(reference: str, serving: bool, home: Home) -> None:
    model, version = parse_pinned(reference)
    with open_operations(load_settings(home=home)) as operations:
        operations.set_serving(model, version, serving)
    verb = "is served" if serving else "is retired"
    say(f"{model} {version} {verb}; {operations.when}")
