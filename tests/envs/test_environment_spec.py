import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from envs.errors import InvalidPython, InvalidRequirements, PythonNotFound
from envs.interpreters import Interpreter, find_interpreter, probe, python_specifier
from envs.requirements import normalise
from envs.sources import InstallOptions
from envs.spec import EnvironmentSpec, resolve

PYTHON = Interpreter(Path("/usr/bin/python3"), "3.11.7", "cpython-311-x86_64", "linux-x86_64")
SPEC = EnvironmentSpec(PYTHON, ("msgpack", "numpy", "six==1.17.0"), InstallOptions())


def test_the_kit_brings_numpy_and_msgpack():
    assert normalise("") == ("msgpack", "numpy")


def test_the_authors_own_numpy_takes_precedence():
    assert normalise("numpy==1.26.4\n") == ("msgpack", "numpy==1.26.4")


def test_spelling_order_and_comments_do_not_count():
    one = "Six==1.17.0  # small\n\n# all of it\nscikit_learn>=1.4,<2\n"
    two = "scikit-learn <2, >=1.4\r\nsix == 1.17.0\r\n"

    assert normalise(one) == normalise(two)


def test_options_and_hashes_are_kept():
    text = "--extra-index-url  https://wheels.example/s\nsix==1.17.0 \\\n    --hash=sha256:aa\n"

    assert set(normalise(text)) >= {
        "--extra-index-url https://wheels.example/s",
        "six==1.17.0 --hash=sha256:aa",
    }


@pytest.mark.parametrize(
    "line",
    [
        "-r base.txt",
        "-e .",
        "./six.whl",
        "six=1",
        "six @ file:///home/ada/six.whl",
        "--find-links /home/ada/wheels",
        "--index-url file:///home/ada/wheels",
        "--extra-index-url",
        "--no-index",
    ],
)
def test_a_line_that_only_the_authors_machine_understands_is_refused(line: str):
    with pytest.raises(InvalidRequirements, match="requirements: "):
        normalise(line)


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, requirements=("msgpack", "numpy", "six==1.16.0")),
        replace(SPEC, interpreter=replace(PYTHON, version="3.11.8")),
        replace(SPEC, interpreter=replace(PYTHON, abi="cpython-311t-x86_64")),
        replace(SPEC, interpreter=replace(PYTHON, platform="linux-aarch64")),
        replace(SPEC, options=InstallOptions(find_links=("/wheels",))),
        replace(SPEC, options=InstallOptions(index_url="file:///mirror")),
    ],
    ids=["requirements", "version", "abi", "platform", "find-links", "index"],
)
def test_what_an_environment_is_made_from_is_in_its_fingerprint(other: EnvironmentSpec):
    assert other.fingerprint() != SPEC.fingerprint()


def test_where_the_interpreter_lies_is_not_in_the_fingerprint():
    moved = replace(SPEC, interpreter=replace(PYTHON, path=Path("/opt/python3")))

    assert moved.fingerprint() == SPEC.fingerprint()


@pytest.mark.parametrize(
    ("python", "fits", "does_not"),
    [
        ("3.11", "3.11.7", "3.12.0"),
        ("3.11.7", "3.11.7", "3.11.8"),
        (">=3.11,<3.13", "3.12.1", "3.13.0"),
        (None, "3.9.0", "3.8.18"),
        ("<3.12", "3.9.18", "3.8.18"),
        ("3", "3.10.1", "3.8.18"),
    ],
)
def test_a_version_means_any_below_it(python: str | None, fits: str, does_not: str):
    wanted = python_specifier(python)

    assert fits in wanted
    assert does_not not in wanted


@pytest.mark.parametrize("python", ["three", "3.8", "2.7", "3.x", ""])
def test_neither_a_version_nor_a_range_is_refused(python: str):
    with pytest.raises(InvalidPython, match=r'such as "3\.11"'):
        python_specifier(python)


def test_our_own_interpreter_is_preferred():
    own = f"{sys.version_info.major}.{sys.version_info.minor}"

    assert find_interpreter(None) == find_interpreter(own) == probe(Path(sys.executable))


def test_a_python_that_the_machine_lacks_is_refused_with_those_that_it_has():
    own = ".".join(map(str, sys.version_info[:3]))

    with pytest.raises(PythonNotFound, match=r'no Python on this machine fits "3\.99"') as caught:
        resolve("3.99", None)

    assert own in str(caught.value)


def test_an_executable_that_is_no_python_is_passed_over(tmp_path: Path):
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)

    assert probe(shim) is None


def test_pips_settings_are_taken_over_variables_before_files(tmp_path: Path):
    (tmp_path / "pip.conf").write_text(
        "[global]\nfind-links = /from/file\nextra-index-url =\n    file:///a\n    file:///b\n"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    variables |= {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_FIND_LINKS": "/one /two"}
    program = (
        "from envs.sources import pip_options as o; print(o().find_links, o().extra_index_urls)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True
    )

    assert done.stdout == "('/one', '/two') ('file:///a', 'file:///b')\n"
