"""Tables of what was measured, in the Markdown of docs/benchmarks.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.peers.measure import Figures
from benchmarks.peers.results import Entry, Outcome
from benchmarks.peers.task import Lent

FLOOR, OURS = "aiohttp", "demitasse"
BEGIN, END = "<!-- make peers: begin -->", "<!-- make peers: end -->"


def report(entries: Sequence[Entry], titles: Mapping[str, str], servers: Mapping[str, str]) -> str:
    """All tables.

    Args:
        titles: of the work items, in the order in which they shall stand.
        servers: how a server is called in the tables, with its version.
    """
    sections = []
    for item, title in titles.items():
        of_item = [each for each in entries if each.item == item]
        for workers in sorted({each.workers for each in of_item}):
            group = [each for each in of_item if each.workers == workers]
            sections.append(_section(title, workers, group, servers))
    return "\n\n".join(sections) + "\n"


def _section(title: str, workers: int, entries: Sequence[Entry], servers: Mapping[str, str]) -> str:
    started = [each for each in entries if not each.cannot_start]
    counts = sorted({int(count) for each in started for count in each.cells} - {0})
    most = str(counts[-1]) if counts else "0"
    started.sort(key=lambda each: -_best(each, most))
    rows = [_row(each, counts, _floors(started, each.run), servers) for each in started]
    if any(each.overload for each in started):
        return _overload_section(title, workers, started, servers)
    head = ["server", *(f"{count}: per s (p50 ms)" for count in counts)]
    head += [f"{count}: CPU" for count in counts] + ["idle", "MiB", "start s"]
    lines = [f"### {title}; {_workers(workers)}", "", _table(head, rows), "", _how(started)]
    lines += [
        f"\n{_name(each, servers)} could not be started: {each.cannot_start.splitlines()[0]}"
        for each in entries
        if each.cannot_start
    ]
    return "\n".join(lines)


def _overload_section(
    title: str, workers: int, entries: Sequence[Entry], servers: Mapping[str, str]
) -> str:
    """Columns are multiples of each server's own peak."""
    factors = sorted({factor for each in entries for factor in each.overload}, key=float)
    rows = [
        [_name(each, servers), _number(max(cell.rate for cell in each.cells.values()))]
        + [_outcome(each.overload.get(factor)) for factor in factors]
        for each in entries
    ]
    head = ["server", "peak", *(f"{factor} x" for factor in factors)]
    return f"### {title}; {_workers(workers)}\n\n{_table(head, rows)}\n\n{_how(entries)}"


def _outcome(outcome: Outcome | None) -> str:
    """Goodput, and what the most of the others were told."""
    if outcome is None:
        return ""
    bad = {status: count for status, count in outcome.statuses.items() if status != "200"}
    most = f" ({max(bad, key=lambda status: bad[status])})" if bad else ""
    return f"{_number(outcome.goodput)}{most}"


def _how(entries: Sequence[Entry]) -> str:
    """With what, for how long, on what; each way once."""
    ways = {
        f"{each.client}, {each.rounds} x {each.seconds:g} s; {each.machine}; "
        f"load average before: {each.load_average:.1f}."
        for each in entries
    }
    return "\n".join(sorted(ways))


def _workers(count: int) -> str:
    return f"{count} worker" + ("s" if count > 1 else "")


def _row(
    entry: Entry,
    counts: Sequence[int],
    floors: Mapping[str, Figures],
    servers: Mapping[str, str],
) -> list[str]:
    loop = entry.cells.get("0")
    if loop is not None:
        rates = ["", *[""] * (len(counts) - 2), _number(loop.rate)][-len(counts) :]
        costs = [*[""] * (len(counts) - 1), f"{loop.cpu:.3g}"]
        return [_name(entry, servers), *rates, *costs, "", "", ""]
    cells = [(entry.cells.get(str(count)), floors.get(str(count))) for count in counts]
    return [
        _name(entry, servers),
        *(_rate(cell) for cell, _ in cells),
        *(_cost(cell, floor) for cell, floor in cells),
        f"{entry.idle_cores:.1%}",
        f"{entry.memory_mib:,.0f}",
        f"{entry.start_seconds:.1f}",
    ]


def _name(entry: Entry, servers: Mapping[str, str]) -> str:
    name = servers.get(entry.server, entry.server)
    has = ["our decoder"] if entry.server != OURS and entry.lent != Lent.NOTHING else []
    has += ["compiled"] if entry.lent == Lent.COMPILED else []
    return ", ".join([name, *has])


def _rate(cell: Figures | None) -> str:
    if cell is None:
        return ""
    failed = f", {cell.failed:.0f} failed" if cell.failed else ""
    return f"{_number(cell.rate)} ({cell.p50_ms:.3g}{failed})"


def _cost(cell: Figures | None, floor: Figures | None) -> str:
    if cell is None:
        return ""
    times = f" ({cell.cpu / floor.cpu:.1f} x)" if floor and floor.cpu else ""
    return f"{cell.cpu:.3g}{times}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _best(entry: Entry, most: str) -> float:
    cell = entry.cells.get(most) or entry.cells.get("0")
    return cell.rate if cell else 0.0


def _floors(entries: Iterable[Entry], run: str) -> Mapping[str, Figures]:
    """What the floor cost in the same run, by connections; nothing if it took no part."""
    return next((e.cells for e in entries if e.server == FLOOR and e.run == run), {})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replaced(document: str, tables: str) -> str:
    """A document with new tables between its two marks.

    Raises:
        ValueError: it has not exactly one of each, in order.
    """
    before, began, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not began or not ended or BEGIN in after or END in after:
        raise ValueError(f"expected {BEGIN} and {END}, each once")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"
