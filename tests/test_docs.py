"""What the pages say is held to the code: metrics, codes, and links between pages."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from coordinator import errors
from coordinator.metrics import (
    count_answer,
    count_cache_lookup,
    count_cancelled,
    count_pending,
    count_request,
    count_second_attempt,
    count_shared,
    exposition,
    flush,
    received,
)
from minion.host.lane import Lane
from minion.host.metrics import host_metrics
from minion.host.spec import ServiceSpec
from preprocess import decode

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROW = re.compile(r"^\| `(?P<name>demitasse_\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\|", re.M)


class Exposed(NamedTuple):
    """A metric as a scrape shows it."""

    name: str
    kind: str
    labels: frozenset[str]


def written() -> set[Exposed]:
    page = (ROOT / "docs" / "metrics.md").read_text()
    return {
        Exposed(row["name"], row["kind"], frozenset(re.findall(r"`(\w+)`", row["labels"])))
        for row in ROW.finditer(page)
    }


def exposed(scrape: bytes) -> Iterator[Exposed]:
    for family in text_string_to_metric_families(scrape.decode()):
        if family.name.startswith("demitasse_") and not family.name.endswith("_created"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Exposed(name, family.type, frozenset(family.samples[0].labels) - {"le"})


def of_the_coordinator() -> set[Exposed]:
    received("/x")[0] += 1
    count_cancelled("/x", "reading")
    count_request("/x", 200, "ok", 0.1)
    count_answer("model", "1.0.0", "ok")
    count_pending("model", "1.0.0")
    count_shared("model", "1.0.0")
    count_second_attempt("model", "1.0.0")
    count_cache_lookup("model", "1.0.0", "hit")
    flush()
    return set(exposed(exposition()))


def of_a_minion() -> set[Exposed]:
    spec = ServiceSpec(
        model="x",
        version="1.0.0",
        replica="x-0",
        epoch=1,
        python=sys.executable,
        directory="/",
        entry="x:X",
        inputs={},
        queue_limit=1,
        max_batch_size=1,
        max_queue_delay_seconds=0.0,
    )
    return set(exposed(generate_latest(host_metrics(Lane(spec)))))


def test_the_page_of_metrics_has_every_metric_with_type_and_labels_and_no_other():
    assert written() == of_the_coordinator() | of_a_minion()


def kinds(kind: type[errors.DemitasseError]) -> Iterator[type[errors.DemitasseError]]:
    for below in kind.__subclasses__():
        yield below
        yield from kinds(below)


#: Branches of the tree: what is raised is a leaf below them.
BRANCHES = {errors.CallerError, errors.NotFound, errors.Overloaded, errors.ModelFailure}
CODES = {kind.code for kind in kinds(errors.DemitasseError) if kind not in BRANCHES}
IMAGE_CODES = {
    decode.DAMAGED,
    decode.EMPTY,
    decode.FORMAT_UNSUPPORTED,
    decode.TOO_COSTLY,
    decode.TOO_LARGE,
}


@pytest.mark.parametrize("code", sorted(CODES | IMAGE_CODES))
def test_the_page_of_errors_has_every_code(code: str):
    assert f"| `{code}` |" in (ROOT / "docs" / "errors.md").read_text()


def test_every_code_of_the_image_tier_is_looked_for():
    source = (ROOT / "preprocess" / "decode.py").read_text()

    assert set(re.findall(r'"(image-[a-z-]+)"', source)) == IMAGE_CODES


LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path):
    for path, heading in LINK.findall(without_code(page.read_text())):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {path}"
        if heading:
            assert heading in headings(target.read_text()), f"{page.name}: {path}#{heading}"


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.S)


def headings(text: str) -> set[str]:
    """As GitHub names them in links."""
    titles = re.findall(r"^#+ (.+)$", without_code(text), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
