"""coordinator/router.py: from a reference to a version, over a snapshot."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coordinator.errors import (
    InvalidParameter,
    UnknownAlias,
    UnknownModel,
    UnknownVersion,
    VersionNotServed,
)
from coordinator.router import ModelRef, narrowed, parse_ref, resolve, served
from model_registry.manifest_parser import parse_manifest
from model_registry.settings import Settings
from model_registry.snapshot import ModelEntry, Snapshot, Version

MANIFEST = """
name = "tagger"
version = "{}"
entry = "tagger:Tagger"

[input.x]
dtype = "float32"
shape = [1]

[output.y]
type = "number"
"""
SERVED = ["1.0.0", "2.0.0", "2.9.0", "2.10.0", "2.10.1"]
RETIRED = ["2.11.0", "3.0.0"]


def version(number: str, *, serving: bool) -> Version:
    manifest = parse_manifest(MANIFEST.format(number), "model.toml")
    at = datetime(2026, 11, 21, tzinfo=UTC)
    return Version("tagger", number, "0" * 64, manifest, Path("/"), serving, at, "test")


def entry(name: str, **changes: Any) -> ModelEntry:
    versions = {number: version(number, serving=True) for number in SERVED}
    versions |= {number: version(number, serving=False) for number in RETIRED}
    aliases = {"default": "2.9.0", "canary": "2.10.1"}
    return ModelEntry(**({"name": name, "versions": versions, "aliases": aliases} | changes))


SNAPSHOT = Snapshot(
    1,
    {
        "tagger": entry("tagger", settings=Settings()),
        "bare": entry("bare", versions={}, aliases={}, settings=Settings()),
    },
)


@pytest.mark.parametrize(
    ("ref", "number"),
    [
        ("tagger", "2.9.0"),
        ("tagger@default", "2.9.0"),
        ("tagger@canary", "2.10.1"),
        ("tagger@1", "1.0.0"),
        ("tagger@2", "2.10.1"),
        ("tagger@2.10", "2.10.1"),
        ("tagger@2.9", "2.9.0"),
        ("tagger@2.10.0", "2.10.0"),
    ],
)
def test_a_reference_means_one_version(ref, number):
    assert resolve(SNAPSHOT, ref).version == number
    assert resolve(SNAPSHOT, parse_ref(ref)).version == number


@pytest.mark.parametrize(
    ("ref", "error", "available"),
    [
        ("taggre", UnknownModel, ["bare", "tagger"]),
        ("tagger@beta", UnknownAlias, ["canary", "default"]),
        ("bare", UnknownAlias, []),
        ("bare@1", UnknownVersion, []),
        ("tagger@9", UnknownVersion, [*SERVED, *RETIRED]),
        ("tagger@2.8", UnknownVersion, [*SERVED, *RETIRED]),
        ("tagger@2.9.9", UnknownVersion, [*SERVED, *RETIRED]),
        ("tagger@3", VersionNotServed, SERVED),
        ("tagger@2.11.0", VersionNotServed, SERVED),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(ref, error, available):
    with pytest.raises(error) as refusal:
        resolve(SNAPSHOT, ref)
    assert refusal.value.members["available"] == available


def numbers(snapshot: Snapshot) -> list[str]:
    versions = snapshot.models["tagger"].versions.values()
    return [version.version for version in versions if version.serving]


@pytest.mark.parametrize(
    ("only", "left"),
    [
        ([], SERVED),
        (["tagger"], ["2.9.0"]),
        (["tagger@canary", "tagger@1"], ["1.0.0", "2.10.1"]),
        (["tagger", "tagger@3.0.0", "taggre", "tagger@beta"], ["2.9.0"]),
    ],
    ids=["all", "the default", "several", "some of which mean nothing"],
)
def test_a_platform_that_was_told_to_serves_these_alone(only, left):
    assert sorted(version.version for version in served(SNAPSHOT, only)) == sorted(left)
    assert numbers(narrowed(SNAPSHOT, only)) == left


def test_what_such_a_platform_does_not_serve_is_found_by_nobody_there():
    snapshot = narrowed(SNAPSHOT, ["tagger@canary"])

    assert resolve(snapshot, "tagger@2").version == "2.10.1"
    for ref in ("tagger", "tagger@default", "tagger@2.9.0", "tagger@1"):
        with pytest.raises(VersionNotServed) as refusal:
            resolve(snapshot, ref)
        assert refusal.value.members["available"] == ["2.10.1"]


@pytest.mark.parametrize(
    "text",
    ["", "Tagger", "tagger@", "@1", "tagger@1@2", "tagger 1", "tägger", "a" * 64, "1", "tagger@Ä"],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidParameter):
        parse_ref(text)


@pytest.mark.parametrize("selector", ["1.2.3.4", "01.0.0", "1.", "..", "1" * 30])
def test_strange_selectors_are_unknown_not_an_accident(selector):
    with pytest.raises((UnknownAlias, UnknownVersion)):
        resolve(SNAPSHOT, ModelRef("tagger", selector))


def test_a_reference_is_written_as_it_was_read():
    assert [str(parse_ref(text)) for text in ("tagger", "tagger@2.1")] == ["tagger", "tagger@2.1"]
