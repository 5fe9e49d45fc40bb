"""The version is written twice; here the two are compared."""

from importlib.metadata import version

import demitasse


def test_the_package_says_the_version_of_the_distribution() -> None:
    assert demitasse.__version__ == version("demitasse")
