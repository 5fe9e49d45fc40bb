import re
from pathlib import Path

import pytest

from model_registry.manifest import ImageInput, Manifest, Quality, version_key
from model_registry.manifest_parser import MAX_IMAGE_SIDE, parse_manifest
from model_registry.manifest_table import ManifestError
from model_registry.package import load_manifest
from model_registry.settings import Settings
from preprocess.model import MAX_OUTPUT_SIDE
from wire.tensor import TensorSpec
from wire.torch_options import TorchOptions

EXAMPLES = Path(__file__).parents[2] / "examples"
FILE = "examples/tagger/model.toml"

TAGGER = """
name = "tagger"
version = "1.2.3"
entry = "tagger:Tagger"
description = "What a photo shows"
analyze = true

[environment]
python = ">=3.11,<3.13"
requirements = "requirements.txt"

[input.image]
dtype = "uint8"
shape = [128, 96, 3]
resize = "crop"

[output.tags]
type = "array"
items = { type = "object", properties = { label = { type = "string" } } }

[output.mask]
type = "tensor"
dtype = "uint8"
shape = [-1, 4]

[batching]
max_batch_size = 8
max_queue_delay = "5ms"

[admission]
queue_limit = 32

[resources]
workers = 2
spares = 1
threads = 3
device = "cuda:1"
load_timeout = "90s"
predict_timeout = "1.5s"
memory = "1.5GiB"
temporary = "512 MiB"
max_requests = 10000

[torch]
precision = "bfloat16"
compile = "reduce-overhead"

[quality]
metric = "accuracy"
value = 0.93
data = "held-out photos"

[release]
notes = "first"
"""

SMALLEST = """
name = "echo"
version = "1.0.0"
entry = "echo:Echo"

[input.x]
dtype = "float32"
shape = [-1]

[output.x]
type = "number"
"""


def changed(old: str, new: str) -> str:
    assert old in TAGGER
    return TAGGER.replace(old, new, 1)


def error_of(text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text, FILE)
    return caught.value


@pytest.fixture
def tagger() -> Manifest:
    return parse_manifest(TAGGER, FILE)


def test_every_key_is_read(tagger: Manifest):
    assert (tagger.name, tagger.version, tagger.entry) == ("tagger", "1.2.3", "tagger:Tagger")
    assert tagger.environment.python == ">=3.11,<3.13"
    assert tagger.environment.requirements == "requirements.txt"
    assert tagger.inputs == {"image": TensorSpec("uint8", (128, 96, 3))}
    assert tagger.image_inputs == (ImageInput("image", height=128, width=96, resize="crop"),)
    assert (tagger.queue_limit, tagger.max_batch_size) == (32, 8)
    assert (tagger.resources.workers, tagger.resources.threads) == (2, 3)
    assert tagger.resources.device == "cuda:1"
    assert tagger.torch == TorchOptions("bfloat16", "reduce-overhead")
    assert tagger.quality == Quality("accuracy", 0.93, "held-out photos")
    assert tagger.release_notes == "first"
    assert tagger.analyze


@pytest.mark.parametrize(
    ("metric", "accuracy"), [("accuracy", 0.93), ("exact match", None), ("Accuracy", None)]
)
def test_only_the_metric_accuracy_is_an_accuracy(metric: str, accuracy: float | None):
    manifest = parse_manifest(changed('metric = "accuracy"', f'metric = "{metric}"'), FILE)

    assert manifest.accuracy == accuracy


def test_durations_are_seconds(tagger: Manifest):
    assert tagger.max_queue_delay == 0.005
    assert tagger.resources.load_timeout == 90.0
    assert tagger.resources.predict_timeout == 1.5


def test_sizes_are_bytes(tagger: Manifest):
    assert tagger.resources.memory == 1536 * 2**20
    assert tagger.resources.temporary == 512 * 2**20
    assert tagger.resources.max_requests == 10_000
    assert tagger.resources.spares == 1


@pytest.mark.parametrize(
    "value", ['"2GB"', "2147483648", '"1MiB"', '"-1GiB"', '""', "true"], ids=str
)
def test_a_size_that_is_none_is_refused_with_what_would_be_one(value: str):
    error = error_of(changed('memory = "1.5GiB"', f"memory = {value}"))

    assert error.key == "resources.memory"
    assert 'expected a size such as "512MiB" or "2GiB", from 64MiB to 16TiB' in str(error)


def test_what_may_be_left_out_has_a_default():
    echo = parse_manifest(SMALLEST, FILE)

    assert (echo.queue_limit, echo.max_batch_size, echo.max_queue_delay) == (64, 1, 0.0)
    assert (echo.resources.workers, echo.resources.threads) == (1, 1)
    assert (echo.resources.device, echo.torch) == ("cpu", TorchOptions())
    assert (echo.resources.load_timeout, echo.resources.predict_timeout) == (120.0, 30.0)
    assert (echo.resources.memory, echo.resources.temporary) == (None, 2**30)
    assert echo.resources.max_requests is None
    assert echo.resources.spares == 0
    assert (echo.environment.python, echo.environment.requirements) == (None, None)
    assert (echo.quality, echo.accuracy) == (None, None)
    assert not echo.analyze


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            changed("max_batch_size = 8", 'max_batch_size = "eight"'),
            'batching.max_batch_size is "eight"; expected an integer from 1 to 4096',
            id="a word for a number",
        ),
        pytest.param(
            changed("max_batch_size = 8", "max_batch_size = 0"),
            "batching.max_batch_size is 0; expected an integer from 1 to 4096",
            id="a number out of range",
        ),
        pytest.param(
            changed("spares = 1", "spares = 9"),
            "resources.spares is 9; expected an integer from 0 to 8",
            id="more spares than anybody needs",
        ),
        pytest.param(
            changed("workers = 2", "workers = true"),
            "resources.workers is true; expected an integer from 1 to 64",
            id="a truth for a number",
        ),
        pytest.param(
            changed('"cuda:1"', '"gpu"'),
            'resources.device is "gpu"; expected cpu, cuda or cuda:N',
            id="an unknown device",
        ),
        pytest.param(
            changed('"bfloat16"', '"half"'),
            'torch.precision is "half"; expected one of float16, bfloat16',
            id="an unknown precision",
        ),
        pytest.param(
            changed('"reduce-overhead"', "true"),
            "torch.compile is true; expected one of default, reduce-overhead",
            id="a truth for a mode of torch.compile",
        ),
        pytest.param(
            changed("precision =", "precison ="),
            'torch.precison is not a known key (its value is "bfloat16"); did you mean '
            "precision? Accepted are precision, compile",
            id="a misspelt key of torch",
        ),
        pytest.param(
            changed('"5ms"', "5"),
            'batching.max_queue_delay is 5; expected a duration such as "5ms" or "1.5s", '
            "from 0s to 60s",
            id="a duration without a unit",
        ),
        pytest.param(
            changed('"5ms"', '"61s"'),
            'batching.max_queue_delay is "61s"; expected a duration such as "5ms" or "1.5s", '
            "from 0s to 60s",
            id="a duration too long",
        ),
        pytest.param(
            changed("max_batch_size = 8", "max_batchsize = 8"),
            "batching.max_batchsize is not a known key (its value is 8); did you mean "
            "max_batch_size? Accepted are max_batch_size, max_queue_delay",
            id="a misspelt key",
        ),
        pytest.param(
            changed('version = "1.2.3"', ""),
            'version is missing; expected major.minor.patch, such as "1.0.0"',
            id="no version",
        ),
        pytest.param(
            changed('"1.2.3"', '"1.2"'),
            'version is "1.2"; expected major.minor.patch, such as "1.0.0"',
            id="a version of two numbers",
        ),
        pytest.param(
            changed('"tagger:Tagger"', '"tagger.py"'),
            'entry is "tagger.py"; expected module:Class, such as "tagger:Tagger"',
            id="a file for an entry",
        ),
        pytest.param(
            changed('"crop"', '"zoom"'),
            'input.image.resize is "zoom"; expected one of stretch, crop, pad',
            id="an unknown way to resize",
        ),
        pytest.param(
            changed("[128, 96, 3]", "[-1, 96, 3]"),
            "input.image.shape is [-1, 96, 3]; expected [height, width, 3] for an input "
            "with `resize`",
            id="a photo of no size",
        ),
        pytest.param(
            changed('dtype = "uint8"', 'dtype = "float32"'),
            'input.image.dtype is "float32"; expected "uint8" for an input with `resize`',
            id="a photo of floats",
        ),
        pytest.param(
            changed("[128, 96, 3]", "[128, 4097, 3]"),
            "input.image.shape is [128, 4097, 3]; expected height and width of at most 4096 "
            "for an input with `resize`",
            id="an image larger than the image tier makes",
        ),
        pytest.param(
            changed('dtype = "uint8"', 'dtype = "u1"'),
            'input.image.dtype is "u1"; expected one of bool, uint8, uint16, uint32, uint64, '
            "int8, int16, int32, int64, float16, float32, float64",
            id="an unknown dtype",
        ),
        pytest.param(
            changed('type = "array"', 'type = "list"'),
            'output.tags.type is "list"; expected one of array, boolean, integer, null, number, '
            "object, string, tensor, or a list",
            id="an output of no JSON type",
        ),
        pytest.param(
            changed('{ type = "string" }', '{ type = "text" }'),
            'output.tags.items.properties.label.type is "text"; expected one of array, boolean, '
            "integer, null, number, object, string, or a list",
            id="a mistake deep in an output",
        ),
        pytest.param(
            changed('resize = "crop"', ""),
            "analyze is true; expected false, since not every input is filled from a photo "
            "by `resize`",
            id="analyze without a photo",
        ),
        pytest.param(
            changed('">=3.11,<3.13"', '"three"'),
            'environment.python is "three"; expected a version such as "3.11" or a range such as '
            '">=3.11,<3.13", from 3.9',
            id="no version of Python",
        ),
        pytest.param(
            changed('"requirements.txt"', '"../requirements.txt"'),
            'environment.requirements is "../requirements.txt"; expected a file in the package, '
            "such as requirements.txt",
            id="requirements outside of the package",
        ),
        pytest.param(
            changed("value = 0.93", "value = nan"),
            "quality.value is NaN; expected a finite number",
            id="a quality that is not a number",
        ),
        pytest.param(
            changed("value = 0.93", "value = 93"),
            'quality.value is 93; expected a number from 0 to 1 for the metric "accuracy"',
            id="an accuracy in percent",
        ),
        pytest.param(
            "admission = 32\n" + SMALLEST,
            "admission is 32; expected a table",
            id="a value for a table",
        ),
        pytest.param(
            SMALLEST.replace("[output.x]\n", "").replace('type = "number"', ""),
            "output is missing; expected a table for each field of an answer, "
            "such as [output.tags]",
            id="no output",
        ),
        pytest.param(
            SMALLEST.replace("[input.x]", '[input."a b"]'),
            "input.a b is not a usable name; expected letters, digits and underscores, "
            "not starting with a digit, at most 63",
            id="a name that is no identifier",
        ),
    ],
)
def test_a_mistake_is_named_with_file_key_value_and_what_is_accepted(text: str, message: str):
    assert str(error_of(text)) == f"{FILE}: {message}"


def test_the_largest_image_is_the_largest_that_the_image_tier_makes():
    assert MAX_IMAGE_SIDE == MAX_OUTPUT_SIDE


@pytest.mark.parametrize("name", ["Tagger", "1tagger", "tag_ger", "decoder", "", "t" * 64])
def test_a_name_is_short_lower_case_and_not_reserved(name: str):
    error = error_of(changed('"tagger"', f'"{name}"'))

    assert (error.key, error.value) == ("name", name)


def test_broken_toml_is_named_with_its_line():
    message = str(error_of('name = "echo"\nversion = 1.0.0\n'))

    assert message.startswith(f"{FILE}: is not valid TOML: ")
    assert "line 2" in message


def test_options_are_handed_on_as_they_are():
    manifest = parse_manifest(TAGGER + "\n[options]\nscale = 0.1\nbeams = 4\n", FILE)

    assert dict(manifest.options) == {"scale": 0.1, "beams": 4}


def test_an_option_that_is_a_list_is_refused():
    error = error_of(TAGGER + "\n[options]\nscales = [1, 2]\n")

    assert error.key == "options.scales"
    assert "expected a string, a number, true or false" in str(error)


def test_the_output_schema_requires_every_field(tagger: Manifest):
    schema = tagger.output_schema()

    assert schema["required"] == ["tags", "mask"]
    assert schema["properties"]["tags"]["items"]["properties"]["label"] == {"type": "string"}


def test_a_tensor_in_an_answer_is_nested_lists(tagger: Manifest):
    assert tagger.output_schema()["properties"]["mask"] == {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
    }


def test_the_input_schema_offers_lists_or_base64():
    lists, packed = parse_manifest(SMALLEST, FILE).input_schema()["properties"]["x"]["anyOf"]

    assert lists == {"type": "array", "items": {"type": "number"}}
    assert packed["properties"]["dtype"] == {"const": "float32"}
    assert packed["required"] == ["dtype", "shape", "data"]


def test_tuned_settings_lie_over_the_manifest(tagger: Manifest):
    effective = tagger.settings(Settings(queue_limit=3, revision=7))

    assert (effective.queue_limit, effective.max_batch_size) == (3, 8)
    assert (effective.max_queue_delay, effective.revision) == (0.005, 7)


@pytest.mark.parametrize(
    ("written", "seconds"), [('"5s"', 5.0), ('"800ms"', 0.8), ("5", 5.0), ("0.5", 0.5)]
)
def test_a_promise_governs_in_place_of_a_queue_limit(written: str, seconds: float):
    manifest = parse_manifest(f"{SMALLEST}\n[admission]\npromise = {written}\n", FILE)

    assert (manifest.queue_limit, manifest.promise) == (None, seconds)
    assert manifest.settings(Settings()).promise == seconds
    assert manifest.settings(Settings(queue_limit=3)).promise is None


@pytest.mark.parametrize(
    ("admission", "message"),
    [
        ('promise = "soon"', 'admission.promise is "soon"; expected a duration'),
        ("promise = 0", "admission.promise is 0; expected a duration"),
        ('promise = "5s"\nqueue_limit = 3', "keep one of the two"),
    ],
)
def test_a_promise_that_cannot_govern_is_refused(admission: str, message: str):
    with pytest.raises(ManifestError, match=re.escape(message)):
        parse_manifest(f"{SMALLEST}\n[admission]\n{admission}\n", FILE)


def test_versions_sort_by_number():
    assert sorted(["1.10.0", "1.9.0", "1.9.10"], key=version_key) == ["1.9.0", "1.9.10", "1.10.0"]


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"model\.toml: cannot be read: No such file"):
        load_manifest(tmp_path)


def test_files_that_the_manifest_names_have_to_be_there(tmp_path: Path):
    (tmp_path / "model.toml").write_text(TAGGER)
    with pytest.raises(ManifestError, match=r"there is no tagger\.py"):
        load_manifest(tmp_path)

    (tmp_path / "tagger.py").write_text("class Tager: ...\n")
    with pytest.raises(ManifestError, match=r"tagger\.py has no Tagger"):
        load_manifest(tmp_path)

    (tmp_path / "tagger.py").write_text("class Tagger: ...\n")
    with pytest.raises(ManifestError, match=r'requirements is "requirements\.txt"'):
        load_manifest(tmp_path)

    (tmp_path / "requirements.txt").write_text("-r ../mine.txt\n")
    with pytest.raises(ManifestError, match=r'"-r \.\./mine\.txt" refers to another file'):
        load_manifest(tmp_path)

    (tmp_path / "requirements.txt").write_text("six\n")
    assert load_manifest(tmp_path).requirements_text(tmp_path) == "six\n"


@pytest.mark.parametrize(
    "source",
    [
        "from elsewhere import *\n",
        "from elsewhere import Other as Tagger\n",
        "class Tagger[T]: ...\n",
    ],
    ids=["a star import", "another name", "a syntax that our Python may not know"],
)
def test_a_class_that_may_be_there_is_not_refused(tmp_path: Path, source: str):
    (tmp_path / "model.toml").write_text(TAGGER)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "tagger.py").write_text(source)

    assert load_manifest(tmp_path).entry == "tagger:Tagger"


@pytest.mark.parametrize(
    "package", sorted(EXAMPLES.glob("*/model.toml")), ids=lambda path: path.parent.name
)
def test_the_manifests_of_the_examples_are_valid(package: Path):
    assert load_manifest(package.parent).name == package.parent.name
