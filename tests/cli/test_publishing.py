"""publish, models and history, on the registry of a home."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import EXAMPLES, Command, raise_version


def test_publishing_says_what_the_version_is(demitasse: Command, noop: Path) -> None:
    done = demitasse("publish", noop)

    assert done.returncode == 0
    assert done.stdout == "noop 1.0.0 published; it is what default means\n"


def test_publishing_again_changes_nothing(demitasse: Command, noop: Path) -> None:
    demitasse("publish", noop)

    done = demitasse("publish", noop)

    assert done.returncode == 0
    assert "noop 1.0.0 already published" in done.stdout


def test_several_packages_are_published_at_once(demitasse: Command) -> None:
    demitasse("publish", EXAMPLES / "noop", EXAMPLES / "simulated")

    listed = json.loads(demitasse("models", "--json").stdout)

    assert [model["name"] for model in listed] == ["noop", "simulated"]


def test_a_later_version_comes_with_what_to_do_next(demitasse: Command, noop: Path) -> None:
    demitasse("publish", noop)
    raise_version(noop, "1.1.0")

    done = demitasse("publish", noop)

    assert "not served yet, the default is 1.0.0" in done.stdout
    assert "demitasse serve noop@1.1.0" in done.stdout
    assert "demitasse alias noop default 1.1.0" in done.stdout


def test_publishing_under_an_alias_moves_it(demitasse: Command, noop: Path) -> None:
    demitasse("publish", noop)
    raise_version(noop, "1.1.0")

    demitasse("publish", noop, "--alias", "default")

    assert json.loads(demitasse("models", "noop", "--json").stdout)["default"] == "1.1.0"


def test_other_content_under_the_same_version_is_refused(demitasse: Command, noop: Path) -> None:
    demitasse("publish", noop)
    (noop / "note.txt").write_text("changed")

    done = demitasse("publish", noop)

    assert done.returncode == 1
    assert "raise the version" in done.stderr


def test_a_bad_package_does_not_keep_the_others_out(
    demitasse: Command, noop: Path, tmp_path: Path
) -> None:
    done = demitasse("publish", tmp_path / "nowhere", noop)

    assert done.returncode == 1
    assert str(tmp_path / "nowhere" / "model.toml") in done.stderr
    assert "noop 1.0.0 published" in done.stdout


def test_a_changed_package_among_others_is_named_with_what_happens_to_it(
    demitasse: Command, noop: Path
) -> None:
    demitasse("publish", noop)
    (noop / "note.txt").write_text("changed")

    done = demitasse("publish", noop, EXAMPLES / "simulated")

    assert done.returncode == 1
    assert "raise the version" in done.stderr
    assert "1 of 2 packages were not published" in done.stderr
    assert "simulated 1.0.0 published" in done.stdout


def test_a_mistake_in_the_manifest_names_file_key_and_what_is_accepted(
    demitasse: Command, noop: Path
) -> None:
    manifest = noop / "model.toml"
    manifest.write_text(manifest.read_text().replace("max_batch_size = 32", "max_batch_size = 0"))

    done = demitasse("publish", noop)

    assert str(manifest) in done.stderr
    assert "batching.max_batch_size is 0; expected" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_published_is_said_and_is_an_empty_list(demitasse: Command, home: Path) -> None:
    done = demitasse("models", "--json")

    assert json.loads(done.stdout) == []
    assert "demitasse publish" in done.stderr
    assert not home.exists()


def test_the_table_of_models_is_one_whole_line_each_on_a_pipe(
    demitasse: Command, noop: Path
) -> None:
    demitasse("publish", noop)

    lines = demitasse("models").stdout.splitlines()

    assert len(lines) == 2
    assert lines[1].rstrip().endswith("what remains is the cost of the road")


def test_history_tells_who_changed_what(demitasse: Command, noop: Path) -> None:
    demitasse("publish", noop)
    demitasse("tune", "noop", "--queue-limit", 10)

    events = [event["what"] for event in json.loads(demitasse("history", "noop", "--json").stdout)]

    assert events == [
        "1.0.0 published",
        "default means 1.0.0",
        "1.0.0 served",
        "queue_limit 10 instead of the manifest's",
    ]
