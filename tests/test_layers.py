"""Who may import whom. Change this and an ADR before you change a direction.

Read from the syntax trees, so that an import inside a function counts too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Room -> the rooms of ours that it may import. Longest prefix wins.
ALLOWED = {
    "wire": {"wire"},
    "links": {"links", "wire"},
    "minion": set(),
    "minion.model": {"wire"},
    "minion.worker": {"minion.worker", "minion.model", "wire"},
    "minion.frameworks": {"minion.frameworks", "minion.model", "wire"},
    "minion.host": {"minion.host", "minion.model", "links", "wire"},
    "preprocess": {"preprocess", "minion.model", "wire"},
    "envs": {"envs"},
    "storage": {"storage"},
    "model_registry": {"model_registry", "storage", "envs", "wire"},
    "coordinator": {"coordinator", "model_registry", "storage", "links", "wire"},
    "deploy": {"deploy", "coordinator", "model_registry", "storage", "envs", "minion.host", "wire"},
    "demitasse": {
        "demitasse", "deploy", "coordinator", "model_registry", "storage", "envs", "wire",
    },
}  # fmt: skip

#: Inside the coordinator: the later may know the earlier.
COORDINATOR_ORDER = [
    {
        *("config_checks", "config", "config_sources"),
        *("errors", "metrics", "parcels", "records", "returns", "arrivals", "turns"),
    },
    {
        *("router", "wire_codes", "credentials", "upgrade", "outstanding", "link"),
        *("cache", "digests", "flights", "together"),
    },
    {"replica", "second_attempts", "ticket", "fleet", "directory", "seats"},
    {"merge", "results", "shared_results"},
    {
        *("decoder", "predictions", "photos", "examples"),
        *("explanations", "analysis", "inquiries", "readiness"),
    },
    {"http"},
    {"app"},
    {"__main__"},
]

#: What else may be imported where frameworks and platform must not meet.
KIT_THIRD_PARTY = {"numpy", "msgpack"}
FRAMEWORKS = {"torch", "keras", "tensorflow", "onnxruntime"}
NEVER_IN_THE_PLATFORM = FRAMEWORKS | {"sklearn"}
NOBODY_IMPORTS = {"tests", "benchmarks", "examples"}
#: What proves and what measures do not lean on each other, but for the proofs of what measures.
BESIDE = {
    "tests": {"tests"},
    "tests.benchmarks": {"tests", "benchmarks"},
    "benchmarks": {"benchmarks"},
    "examples": set(),
}

ROOMS = {room.partition(".")[0] for room in ALLOWED}
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MODULES_BESIDE = sorted(path for room in NOBODY_IMPORTS for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str, rooms: Iterable[str] = ALLOWED) -> str:
    return max((room for room in rooms if within(module, room)), key=len)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    allowed = ALLOWED[room_of(name_of(path))]

    for imported in imports(path):
        ours = imported.partition(".")[0] in ROOMS
        assert not ours or any(within(imported, room) for room in allowed), imported
        assert imported.partition(".")[0] not in NOBODY_IMPORTS, imported


@pytest.mark.parametrize("path", MODULES_BESIDE, ids=name_of)
def test_benchmarks_do_not_import_tests_nor_tests_benchmarks_but_for_their_own(path: Path) -> None:
    allowed = BESIDE[room_of(name_of(path), BESIDE)]

    for imported in imports(path):
        room = imported.partition(".")[0]
        assert room not in NOBODY_IMPORTS or room in allowed, imported


@pytest.mark.parametrize(
    "path", [path for path in MODULES if within(name_of(path), "coordinator")], ids=name_of
)
def test_inside_the_coordinator_imports_go_down(path: Path) -> None:
    def level(module: str) -> int:
        part = module.split(".")[1]
        return next(index for index, parts in enumerate(COORDINATOR_ORDER) if part in parts)

    module = name_of(path)
    if module == "coordinator":
        return
    for imported in imports(path):
        if within(imported, "coordinator"):
            assert level(imported) <= level(module), imported


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if room_of(name_of(path)) in ("wire", "minion.model", "minion.worker", "minion.frameworks")
    ],
    ids=name_of,
)
def test_the_authors_kit_needs_numpy_and_msgpack_alone(path: Path) -> None:
    import sys

    allowed = KIT_THIRD_PARTY | set(sys.stdlib_module_names) | ROOMS | {"__future__"}
    if within(name_of(path), "minion.frameworks"):
        allowed |= FRAMEWORKS

    for imported in imports(path):
        assert imported.partition(".")[0] in allowed, imported


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if not within(name_of(path), "minion.frameworks")],
    ids=name_of,
)
def test_the_platform_knows_no_framework(path: Path) -> None:
    for imported in imports(path):
        assert imported.partition(".")[0] not in NEVER_IN_THE_PLATFORM, imported
