"""A requirements file in one spelling, so that equal needs share an environment.

Refuses what only the author's machine understands. Pure; used by `spec`, and
by the manifest's reader to say it when a package is published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envs.errors import InvalidRequirements

KIT_REQUIREMENTS = ("msgpack", "numpy")  # what `wire` and `minion.worker` import

#: Another machine finds there what the author found.
_INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url")


def normalise(text: str) -> tuple[str, ...]:
    """The lines of a requirements file in one spelling and order, with the kit's added.

    Raises:
        InvalidRequirements: a line that refers to the author's machine, or is no requirement.
    """
    lines = {_normal_line(line) for line in _logical_lines(text)}
    named = {re.split(r"[^a-z0-9-]", line, maxsplit=1)[0] for line in lines}
    lines.update(name for name in KIT_REQUIREMENTS if name not in named)
    return tuple(sorted(lines))


def _logical_lines(text: str) -> Iterator[str]:
    joined = re.sub(r"\\\n", " ", text.replace("\r\n", "\n"))
    for line in joined.split("\n"):
        stripped = re.sub(r"(^|\s)#.*", "", line).strip()
        if stripped:
            yield stripped


def _index_option(line: str) -> str:
    option, *value = re.split(r"[\s=]+", line, maxsplit=1)
    if option not in _INDEX_OPTIONS or not re.match(r"https?://\S+$", value[0] if value else ""):
        raise InvalidRequirements(
            f'requirements: "{line}" is not accepted; options may be {", ".join(_INDEX_OPTIONS)} '
            "with a URL that begins with https:, and --hash behind a package"
        )
    return f"{option} {value[0]}"


def _normal_line(line: str) -> str:
    if line.startswith(("-r", "-c", "-e", "--requirement", "--constraint", "--editable")):
        raise InvalidRequirements(
            f'requirements: "{line}" refers to another file; expected names of packages, '
            'such as "torch==2.13.0"'
        )
    if line.startswith("-"):
        return _index_option(line)
    wanted, *hashes = re.split(r"\s+(?=--hash)", line)
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement as error:
        raise InvalidRequirements(
            f'requirements: "{wanted}" is no requirement; expected the like of "torch==2.13.0"'
        ) from error
    if requirement.url is not None and requirement.url.startswith("file:"):
        raise InvalidRequirements(f'requirements: "{wanted}" is a file of this machine only')
    requirement.name = canonicalize_name(requirement.name)
    return " ".join([str(requirement), *hashes])
