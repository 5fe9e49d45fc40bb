"""coordinator/config.py: an object that exists is valid, and its page says the same."""

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from coordinator.config import SETTINGS, Settings
from coordinator.config_checks import InvalidSettings, Setting
from coordinator.config_sources import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_defaults_are_valid():
    settings = Settings()

    assert (settings.port, settings.admin_host, settings.max_images) == (8080, "127.0.0.1", 32)


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_home_is_absolute_and_the_database_lies_in_it(tmp_path):
    settings = Settings(home=Path("~/kitchen"))

    assert settings.home == Path.home() / "kitchen"
    assert Settings(home=tmp_path).registry_url == f"sqlite:///{tmp_path}/registry.db"
    assert Settings(database_url="postgresql://db").registry_url == "postgresql://db"


def test_later_sources_go_before_earlier_ones(tmp_path):
    file = tmp_path / "demitasse.toml"
    file.write_text("port = 1\nprocesses = 2\nmax_images = 3\n")
    environment = {"DEMITASSE_PROCESSES": "4", "DEMITASSE_MAX_IMAGES": "5"}

    settings = load_settings(file, environment, max_images=6, max_parts=None)

    assert (settings.port, settings.processes, settings.max_images) == (1, 4, 6)
    assert settings.max_parts == Settings().max_parts


def test_the_file_may_be_named_by_the_environment(tmp_path):
    file = tmp_path / "demitasse.toml"
    file.write_text("port = 99\n")

    assert load_settings(None, {"DEMITASSE_CONFIG": str(file)}).port == 99


def test_variables_of_other_parts_are_let_be():
    assert load_settings(None, {"DEMITASSE_SOMETHING": "else"}) == Settings()


def test_every_setting_can_be_given_by_the_environment():
    environment = {setting.variable: str(setting.default) for setting in SETTINGS.values()}

    assert load_settings(None, environment) == Settings()


def test_weights_are_by_caller():
    settings = load_settings(None, {"DEMITASSE_CALLER_WEIGHTS": " nightly=0.2, app@shop=5 "})

    assert settings.weights == {"nightly": 0.2, "app@shop": 5.0}
    assert Settings().weights == {}


def test_whole_numbers_serve_as_seconds():
    assert load_settings(None, {"DEMITASSE_BODY_TIMEOUT": "5"}).body_timeout == 5.0


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "80.5", "a whole number from 0 to 65535"),
        ("MAX_IMAGE_BYTES", "0", "a whole number from 1 bytes"),
        ("MAX_TIMEOUT", "inf", "a number from 0.001 seconds"),
        ("MAX_TIMEOUT", "nan", "a number from 0.001 seconds"),
        ("CACHE_BYTES", "-1", "a whole number from 0 bytes"),
        ("CACHE_MIN_ACCURACY", "80", "a number from 0 to 1"),
        ("HOME", "", "a path"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_is_accepted(variable, value, accepted):
    with pytest.raises(InvalidSettings) as refusal:
        load_settings(None, {f"DEMITASSE_{variable}": value})

    text = str(refusal.value)
    assert f"DEMITASSE_{variable}" in text
    assert value in text
    assert accepted in text


def test_a_value_that_does_not_go_with_another_is_named_with_its_source(tmp_path):
    file = tmp_path / "demitasse.toml"
    file.write_text("default_timeout = 500\n")

    with pytest.raises(InvalidSettings) as refusal:
        load_settings(file, {})

    assert str(refusal.value).startswith(f"{file}: default_timeout = 500.0: accepted is at most")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('port = "8080"', ("port = '8080'", "a whole number")),
        ("port = true", ("port = True", "a whole number")),
        ("host = 5", ("host = 5", "a text")),
        ("prot = 1", ("prot = 1", "no such setting", "port")),
        ("port", ("not valid TOML",)),
    ],
)
def test_a_bad_file_is_named_with_key_value_and_what_is_accepted(tmp_path, line, parts):
    file = tmp_path / "demitasse.toml"
    file.write_text(line)

    with pytest.raises(InvalidSettings) as refusal:
        load_settings(file, {})

    assert all(part in str(refusal.value) for part in (str(file), *parts))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidSettings, match=r"none\.toml: cannot be read"):
        load_settings(tmp_path / "none.toml", {})


def test_a_flag_that_is_no_setting_is_refused():
    with pytest.raises(InvalidSettings, match="the command line: prot"):
        load_settings(None, {}, prot=1)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"max_image_bytes": 2**40}, "at most max_body_bytes"),
        ({"default_timeout": 301.0}, "at most max_timeout"),
        ({"poll_interval": 5.0}, "less than lease_ttl"),
        ({"log_level": "loud"}, "one of"),
        ({"cache_redis_url": "localhost:6379"}, "a URL that starts with one of"),
        ({"body_timeout": math.nan}, "a number"),
        ({"caller_weights": "nightly"}, "callers with numbers from 0.01 to 100"),
        ({"caller_weights": "nightly=0"}, "callers with numbers from 0.01 to 100"),
        ({"caller_weights": "nightly=nan"}, "callers with numbers from 0.01 to 100"),
        ({"caller_weights": "a b=1"}, "callers with numbers from 0.01 to 100"),
        ({"caller_weights": "a=1,a=2"}, "callers with numbers from 0.01 to 100"),
    ],
)
def test_values_that_contradict_each_other_are_refused(values, named):
    with pytest.raises(InvalidSettings, match=named):
        Settings(**values)


def test_configuration_needs_no_web_framework():
    code = "import sys, coordinator.config; print('aiohttp' in sys.modules)"

    told = subprocess.run([sys.executable, "-c", code], cwd=PAGE.parents[1], stdout=subprocess.PIPE)

    assert (told.returncode, told.stdout) == (0, b"False\n")


def row(setting: Setting) -> str:
    """The line that docs/configuration.md must have for a setting."""
    kind = {int: "whole number", float: "number", str: "text", Path: "path"}[setting.kind]
    default = f"`{setting.default}`" if str(setting.default) else "empty"
    about = setting.about
    return f"| `{setting.name}` | {kind} | {default} | {about.unit or '-'} | {about.help} |"


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_the_page_says_what_the_code_says(setting):
    assert row(setting) in PAGE.read_text().splitlines()


def test_the_page_has_no_setting_that_is_gone():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]

    assert len(rows) == len(SETTINGS)


def test_both_apis_on_one_port_are_refused():
    with pytest.raises(InvalidSettings, match="admin_port = 9000: accepted is another port"):
        load_settings(environment={}, port=9000, admin_port=9000)

    assert load_settings(environment={}, port=0, admin_port=0).port == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "ops.internal", ""])
def test_off_loopback_the_admin_api_needs_a_key(host):
    with pytest.raises(InvalidSettings, match="admin_host"):
        Settings(admin_host=host)

    assert Settings(admin_host=host, admin_key_file="/run/key").admin_host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_it_may_do_without(host):
    assert Settings(admin_host=host).admin_key_file == ""


def test_no_setting_is_a_key_or_a_secret_but_names_its_file():
    named = [name for name in SETTINGS if "key" in name or "secret" in name]

    assert {"admin_key_file", "link_secret_file", "link_key_file"} == set(named)
