import os
import time
from pathlib import Path

import pytest
from packages import make_package

from model_registry.artifacts import ArtifactStore
from model_registry.errors import InvalidPackage


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_package_is_copied_whole(store: ArtifactStore, tmp_path: Path):
    package = make_package(tmp_path)
    (package / "weights" / "deep").mkdir(parents=True)
    (package / "weights" / "deep" / "w.bin").write_text("1234")

    digest = store.add(package)

    assert files(store.path(digest)) == files(package)


def test_the_digest_is_of_the_content_alone(store: ArtifactStore, tmp_path: Path):
    one, two = make_package(tmp_path / "one"), make_package(tmp_path / "two")
    os.utime(two / "echo.py", (0, 0))

    assert store.add(one) == store.add(two)


@pytest.mark.parametrize("change", ["content", "name", "one more"])
def test_any_change_makes_another_digest(store: ArtifactStore, tmp_path: Path, change: str):
    package = make_package(tmp_path)
    (package / "weights.bin").write_text("1234")
    before = store.add(package)

    if change == "content":
        (package / "weights.bin").write_text("1235")
    elif change == "name":
        (package / "weights.bin").rename(package / "weight.bin")
    else:
        (package / "notes.txt").touch()

    assert store.add(package) != before


def test_compiled_python_is_left_out(store: ArtifactStore, tmp_path: Path):
    package = make_package(tmp_path)
    before = store.add(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "echo.cpython-311.pyc").write_bytes(b"")

    assert store.add(package) == before


def test_published_files_are_read_only(store: ArtifactStore, tmp_path: Path):
    copied = store.path(store.add(make_package(tmp_path))) / "echo.py"

    assert copied.stat().st_mode & 0o777 == 0o444


def test_a_link_that_leaves_the_package_is_refused(store: ArtifactStore, tmp_path: Path):
    package = make_package(tmp_path)
    (tmp_path / "secret").write_text("secret")
    (package / "weights.bin").symlink_to(tmp_path / "secret")

    with pytest.raises(InvalidPackage, match=r"weights\.bin .* is a link that leaves the package"):
        store.add(package)

    assert list((tmp_path / "artifacts").iterdir()) == []


def test_a_link_within_the_package_becomes_a_file(store: ArtifactStore, tmp_path: Path):
    package = make_package(tmp_path)
    (package / "same.py").symlink_to("echo.py")

    copied = store.path(store.add(package)) / "same.py"

    assert not copied.is_symlink()
    assert copied.read_text() == (package / "echo.py").read_text()


def test_a_linked_folder_is_refused(store: ArtifactStore, tmp_path: Path):
    package = make_package(tmp_path)
    (package / "itself").symlink_to(package)

    with pytest.raises(InvalidPackage, match="is a link to a folder"):
        store.add(package)


def test_a_pipe_is_refused_and_not_waited_for(store: ArtifactStore, tmp_path: Path):
    package = make_package(tmp_path)
    os.mkfifo(package / "pipe")

    with pytest.raises(InvalidPackage, match="is not a plain file"):
        store.add(package)


def test_what_a_crash_left_is_cleared_a_day_later(store: ArtifactStore, tmp_path: Path):
    old, fresh = tmp_path / "artifacts" / "incoming-old", tmp_path / "artifacts" / "incoming-new"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))

    store.add(make_package(tmp_path))

    assert not old.exists()
    assert fresh.exists()
