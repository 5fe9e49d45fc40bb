"""`plan`: what another setting, more machines or more callers would do to recorded traffic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import admission, milliseconds, print_json, print_table, remark
from demitasse.cli.failures import CommandError
from demitasse.cli.options import (
    AsJson,
    Home,
    parse_duration,
    parse_factor,
    parse_promise,
    parse_span,
)
from demitasse.cli.registry import find_model, open_catalog

if TYPE_CHECKING:
    from coordinator.arrivals import Records
    from coordinator.config import Settings
    from deploy.planning import Figures, Today, Wish

#: Past it the forecast is of another traffic, and takes as long as a coffee.
_FACTORS = (0.01, 100.0)


class Asked(NamedTuple):
    """What was asked for on the command line; None: as it is."""

    promise_seconds: float | None
    queue_limit: int | None
    max_batch_size: int | None
    max_queue_delay_seconds: float | None
    workers: int | None
    machines: int | None
    rate: float
    cost: float


def plan(
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model, or `decoder`.")],
    promise: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Such as 3s, in place of a queue limit.")
    ] = None,
    queue_limit: Annotated[
        int | None, typer.Option(min=1, help="Examples queued plus running, per machine.")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(min=1, help="The most examples in one batch.")
    ] = None,
    max_queue_delay: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Such as 5ms.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Per machine.")] = None,
    machines: Annotated[int | None, typer.Option(min=1, max=1000, help="Minions.")] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="Callers: x3, +20% or -50%.")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="What a batch takes: +20%, -10% or x2.")
    ] = None,
    last: Annotated[
        str, typer.Option(metavar="DURATION", help="Of what was recorded, such as 30m.")
    ] = "1h",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Replay recorded traffic on another setting: latencies, 429s and batches, beside today's."""
    if promise is not None and queue_limit is not None:
        raise typer.BadParameter("--promise and --queue-limit cannot both govern; give one")
    asked = Asked(
        None if promise is None else parse_promise(promise),
        queue_limit,
        max_batch_size,
        None if max_queue_delay is None else parse_duration(max_queue_delay),
        workers,
        machines,
        1.0 if rate is None else parse_factor(rate, *_FACTORS),
        1.0 if cost is None else parse_factor(cost, *_FACTORS),
    )
    _plan(load_settings(home=home), name, asked, parse_span(last), as_json)


def _plan(settings: Settings, name: str, asked: Asked, last: float, as_json: bool) -> None:
    from deploy.planning import CannotPlan, ask_hosts, forecast

    model, version, only = _version(settings, name)
    try:
        today = ask_hosts(settings.home, model, version)
    except CannotPlan as error:
        raise CommandError(str(error)) from error
    records = _recorded(settings, model, only, last)
    wishes = _wishes(today, asked)
    found = forecast(records, today.ran, wishes)
    remarks = _remarks(today, wishes[-1])
    if as_json:
        print_json(_document(model, version, records, wishes, found, remarks))
        return
    span = float(records["at"][-1] - records["at"][0])
    remark(f"{model} {version}: {len(records)} arrivals in {span:.0f} s, replayed")
    _print(wishes, found)
    for each in remarks:
        remark(each)


def _version(settings: Settings, name: str) -> tuple[str, str, str | None]:
    """Model, the version whose cost is asked for, and the one whose arrivals are, if it is one."""
    from coordinator.decoder import DECODER, DECODER_VERSION

    model, _, pinned = name.partition("@")
    if model == DECODER:
        return DECODER, DECODER_VERSION, None
    with open_catalog(settings) as catalog:
        entry = find_model(catalog.snapshot(), model)
    if pinned:
        return model, pinned, pinned
    if entry.default is None:
        raise CommandError(f"{model} has no default version; name one, as in {model}@1.0.0")
    return model, entry.default, None


def _recorded(settings: Settings, model: str, version: str | None, last: float) -> Records:
    from coordinator.arrivals import arrivals_folder, read_arrivals

    folder = arrivals_folder(settings.home)
    records = read_arrivals(folder, model, version, time.time() - last)
    if not len(records):
        of = f"{model} {version}" if version else model
        raise CommandError(
            f"no arrivals of {of} were recorded in the last {last:g} s; coordinators record them "
            "while they run and `arrivals_bytes` is not 0, a second after they came"
        )
    return records


def _wishes(today: Today, asked: Asked) -> list[Wish]:
    """Today's, and the asked one where that is another."""
    from deploy.planning import Wish

    tuning = today.setting.tuning
    changes = {
        key: value
        for key, value in asked._asdict().items()
        if value is not None and key in tuning._fields
    }
    if asked.promise_seconds is not None:
        changes["queue_limit"] = None
    if asked.queue_limit is not None:
        changes["promise_seconds"] = None
    setting = today.setting._replace(
        tuning=tuning._replace(**changes),
        workers=asked.workers or today.setting.workers,
        machines=asked.machines or today.setting.machines,
    )
    wishes = [Wish(today.setting), Wish(setting, asked.rate, asked.cost)]
    return wishes if wishes[0] != wishes[1] else wishes[:1]


def _remarks(today: Today, wish: Wish) -> list[str]:
    """Where the forecast goes past what was seen."""
    largest = max(each.size for each in today.ran)
    beside = max(each.running for each in today.ran)
    remarks = []
    if wish.setting.tuning.max_batch_size > largest:
        remarks.append(f"no batch above {largest} was seen: what larger ones take is extrapolated")
    if wish.setting.workers > beside:
        remarks.append(
            f"no more than {beside} ran side by side: more are taken to be as fast as these"
        )
    return remarks


def _print(wishes: list[Wish], found: list[Figures]) -> None:
    rows = [_settings(each) for each in wishes]
    results = [_results(each) for each in found]
    columns = [{**row, **result} for row, result in zip(rows, results, strict=True)]
    headings = ("", "today", "asked")[: 1 + len(columns)]
    print_table(headings, ((key, *(each[key] for each in columns)) for key in columns[0]))


def _settings(wish: Wish) -> dict[str, str]:
    setting, tuning = wish.setting, wish.setting.tuning
    return {
        "admission": admission(tuning.promise_seconds, tuning.queue_limit),
        "max batch size": str(tuning.max_batch_size),
        "max queue delay": milliseconds(tuning.max_queue_delay_seconds),
        "machines x workers": f"{setting.machines} x {setting.workers}",
        "rate, cost": f"x{wish.rate:g}, x{wish.cost:g}",
    }


def _results(found: Figures) -> dict[str, str]:
    return {
        "arrivals": str(found.arrivals),
        "p50": milliseconds(round(found.p50, 4)),
        "p95": milliseconds(round(found.p95, 4)),
        "p99": milliseconds(round(found.p99, 4)),
        "429": f"{found.refused:.2%}",
        "504": f"{found.late:.2%}",
        "mean batch": f"{found.batch_size:.2f}",
        "batches": _common(found.batches),
        "workers busy": f"{found.busy:.0%}",
        "queue limit then": str(found.queue_limit),
    }


def _common(batches: dict[int, int]) -> str:
    """The three sizes that most batches have."""
    total = sum(batches.values())
    most = sorted(batches, key=lambda size: -batches[size])[:3]
    return ", ".join(f"{size}: {batches[size] / total:.0%}" for size in sorted(most))


def _document(
    model: str,
    version: str,
    records: Records,
    wishes: list[Wish],
    found: list[Figures],
    remarks: list[str],
) -> dict[str, Any]:
    names = ("today", "asked")
    return {
        "model": model,
        "version": version,
        "arrivals": len(records),
        "first_at": float(records["at"][0]),
        "last_at": float(records["at"][-1]),
        "remarks": remarks,
        **{
            name: {
                "settings": wish.setting.tuning.head(),
                "workers": wish.setting.workers,
                "machines": wish.setting.machines,
                "rate": wish.rate,
                "cost": wish.cost,
                **figures._asdict(),
            }
            for name, wish, figures in zip(names, wishes, found, strict=False)
        },
    }
