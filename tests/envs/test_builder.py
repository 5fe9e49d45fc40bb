"""Real environments, the smallest there are. Packages come from wherever pip finds them here."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envs.builder import Environment, EnvironmentStore
from envs.errors import BuildFailed, PythonNotFound
from envs.spec import EnvironmentSpec, resolve


def unseen(line: str) -> None:
    pytest.fail(f"nothing had to be built, yet: {line}")


def silent(line: str) -> None:
    pass


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with one module, in a folder that `find-links` may name."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = '{version}'\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )


def run(environment: Environment, program: str) -> str:
    command = [str(environment.python), "-I", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def marker(environment: Environment) -> Path:
    return environment.directory / "demitasse.json"


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(tmp_path / "envs")


@pytest.fixture
def spec(tmp_path: Path) -> EnvironmentSpec:
    """Asks for `demitasse_pebble`, a package of this test's own."""
    make_wheel(tmp_path / "wheels", "demitasse_pebble", "1.0")
    spec = resolve(None, "demitasse-pebble==1.0")
    return replace(spec, options=replace(spec.options, find_links=(str(tmp_path / "wheels"),)))


@pytest.mark.parametrize("use_uv", [True, False], ids=["uv", "pip"])
def test_an_environment_has_what_was_asked_for_and_the_kit(
    tmp_path: Path, spec: EnvironmentSpec, use_uv: bool
):
    environment = EnvironmentStore(tmp_path / "envs", use_uv=use_uv).ensure(spec, progress=silent)

    assert run(environment, "import demitasse_pebble as d; print(d.version)") == "1.0"
    kit = run(environment, "import wire.tensor, minion.model; print(wire.__file__)")
    assert Path(kit).is_relative_to(tmp_path / "kit")


def test_nothing_of_the_platform_leaks_in(store: EnvironmentStore, spec: EnvironmentSpec):
    environment = store.ensure(spec, progress=silent)

    program = """
import importlib.util as u
names = "aiohttp", "sqlalchemy", "msgspec", "coordinator", "minion.host", "envs", "model_registry"
print([name for name in names if u.find_spec(name)])
"""
    assert run(environment, program) == "[]"


def test_the_second_use_builds_nothing(store: EnvironmentStore, spec: EnvironmentSpec):
    first = store.ensure(spec, progress=silent)
    built = marker(first).stat().st_mtime_ns

    assert store.ensure(spec, progress=unseen) == first
    assert marker(first).stat().st_mtime_ns == built


def test_an_environment_without_a_marker_is_built_again(
    store: EnvironmentStore, spec: EnvironmentSpec
):
    environment = store.ensure(spec, progress=silent)
    marker(environment).unlink()
    (environment.directory / "left-behind").touch()

    store.ensure(spec, progress=silent)

    assert marker(environment).is_file()
    assert not (environment.directory / "left-behind").exists()


def test_an_environment_whose_interpreter_went_away_is_built_again(
    store: EnvironmentStore, spec: EnvironmentSpec
):
    environment = store.ensure(spec, progress=silent)
    environment.python.unlink()
    environment.python.symlink_to("/nowhere/python")

    store.ensure(spec, progress=silent)

    assert run(environment, "print('runs')") == "runs"


def test_progress_tells_the_steps_and_what_they_print(
    store: EnvironmentStore, spec: EnvironmentSpec
):
    lines: list[str] = []

    store.ensure(spec, progress=lines.append)

    assert "installing demitasse-pebble==1.0, msgpack, numpy" in lines
    assert "+ demitasse-pebble==1.0" in lines  # in uv's words


def test_a_failure_shows_the_end_of_the_log_and_keeps_it(
    store: EnvironmentStore, spec: EnvironmentSpec
):
    with pytest.raises(BuildFailed, match=r"demitasse-pebble==2\.0") as caught:
        store.ensure(replace(spec, requirements=("demitasse-pebble==2.0",)), progress=silent)

    assert caught.value.step == "installing demitasse-pebble==2.0"
    assert caught.value.tail in caught.value.log_path.read_text()
    assert store.list() == []


def test_what_failed_once_is_tried_again(
    store: EnvironmentStore, spec: EnvironmentSpec, tmp_path: Path
):
    newer = replace(spec, requirements=("msgpack", "numpy", "demitasse-pebble==2.0"))
    with pytest.raises(BuildFailed):
        store.ensure(newer, progress=silent)
    make_wheel(tmp_path / "wheels", "demitasse_pebble", "2.0")

    environment = store.ensure(newer, progress=silent)

    assert run(environment, "import demitasse_pebble as d; print(d.version)") == "2.0"


def test_processes_that_want_the_same_at_once_build_it_once(tmp_path: Path):
    program = """
import sys
from pathlib import Path
from envs.builder import EnvironmentStore
from envs.spec import resolve
EnvironmentStore(Path(sys.argv[1])).ensure(resolve(None, None), progress=print)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "envs")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in running]

    assert [process.returncode for process in running] == [0, 0]
    assert "".join(said).count("making an environment") == 1


def test_another_kit_is_pointed_to_without_a_build(
    store: EnvironmentStore, spec: EnvironmentSpec, tmp_path: Path
):
    environment = store.ensure(spec, progress=silent)
    (path_file,) = environment.directory.glob("lib/python3*/site-packages/demitasse-kit.pth")
    path_file.write_text(f"{tmp_path}/kit/of-an-older-release\n")

    store.ensure(spec, progress=unseen)

    assert Path(run(environment, "import wire; print(wire.__file__)")).is_file()


def test_environments_are_listed_and_pruned(store: EnvironmentStore, spec: EnvironmentSpec):
    kept = store.ensure(spec, progress=silent)
    other = store.ensure(resolve(None, None), progress=silent)
    listed = store.list()

    removed = store.prune([kept.fingerprint])

    assert [info.fingerprint for info in listed] == [kept.fingerprint, other.fingerprint]
    assert listed[0].requirements == ("demitasse-pebble==1.0", "msgpack", "numpy")
    assert listed[0].size_bytes > 0
    assert [info.fingerprint for info in removed] == [other.fingerprint]
    assert not other.directory.exists()
    assert store.list() == listed[:1]


def test_what_a_failed_build_left_is_pruned(store: EnvironmentStore, spec: EnvironmentSpec):
    broken = replace(spec, requirements=("demitasse-pebble==2.0",))
    with pytest.raises(BuildFailed) as caught:
        store.ensure(broken, progress=silent)

    assert store.prune([]) == []
    assert not caught.value.log_path.exists()
    assert not caught.value.log_path.with_suffix("").exists()


def test_the_kit_runs_on_the_oldest_python_that_a_model_may_bring(
    store: EnvironmentStore, find_python: Callable[[str], None]
):
    find_python("3.9")

    environment = store.ensure(resolve("3.9", None), progress=silent)

    program = """
import pathlib, sys, wire, minion.model, wire.tensor
kit = pathlib.Path(wire.__file__).parent.parent
for path in kit.rglob("*.py"):
    compile(path.read_text("utf-8"), str(path), "exec")
print(sys.version_info[:2])
"""
    assert run(environment, program) == "(3, 9)"


@pytest.fixture
def find_python() -> Callable[[str], None]:
    """Skips the test where the machine has no such Python, and says so."""

    def find(python: str) -> None:
        try:
            resolve(python, None)
        except PythonNotFound as error:
            pytest.skip(str(error))

    return find
