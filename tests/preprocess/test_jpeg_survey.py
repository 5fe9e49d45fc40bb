"""What the markers of a JPEG tell of its cost, for files whose blocks can be counted by hand."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from preprocess.jpeg import BASELINE, PROGRESSIVE, Survey, survey
from tests.bombs import jpegs
from tests.bombs.jpegs import FULL_COLOUR, Part


def surveyed(data: bytes) -> Survey:
    return survey(data, most_scans=100, most_segments=1000)


def facts_of(data: bytes) -> tuple[int | None, int, int, int]:
    """Coding, scans, visits, bytes that are held."""
    return surveyed(data)[1:5]


def written(width: int, height: int, **options: object) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height)).save(file, "JPEG", **options)
    return file.getvalue()


def test_a_baseline_jpeg_holds_nothing_and_visits_each_block_once() -> None:
    assert facts_of(written(80, 48, subsampling=0)) == (BASELINE, 1, 3 * 60, 0)


def test_chroma_that_is_subsampled_has_fewer_blocks() -> None:
    assert facts_of(written(80, 48, subsampling=2)) == (BASELINE, 1, 60 + 2 * 15, 0)


def test_a_progressive_jpeg_holds_all_coefficients_in_two_bytes() -> None:
    told = surveyed(written(80, 48, subsampling=0, progressive=True))

    assert (told.coding, told.coefficient_bytes) == (PROGRESSIVE, 3 * 60 * 64 * 2)
    assert told.scans == 10
    # The encoder's script: two scans of all three for DC; four of Y, two of Cb and of Cr for AC.
    assert told.visits == 2 * 180 + 8 * 60


def test_components_of_one_number_are_held_each() -> None:
    data = bytearray(written(80, 48, subsampling=0, progressive=True))
    at = data.index(b"\xff\xc2") + 10  # behind marker, length, depth, sides and their count
    data[at + 3] = data[at + 6] = data[at]

    assert surveyed(bytes(data)).coefficient_bytes == 3 * 60 * 64 * 2


def test_components_in_scans_of_their_own_are_held() -> None:
    apart = [jpegs.baseline(80, 48, [number]) for number in (1, 2, 3)]
    data = jpegs.jpeg(80, 48, FULL_COLOUR, *apart, frame=BASELINE)

    assert facts_of(data) == (BASELINE, 3, 180, 3 * 60 * 128)


def test_a_scan_that_leaves_a_component_out_means_that_more_are_to_come() -> None:
    data = jpegs.jpeg(80, 48, FULL_COLOUR, jpegs.baseline(80, 48, [1, 2]), frame=BASELINE)

    assert surveyed(data).coefficient_bytes == 3 * 60 * 128


def test_the_first_frame_counts_and_blocks_at_the_edges_do() -> None:
    data = jpegs.jpeg(81, 1, [Part(2, 1), Part(1, 1)], jpegs.start([1, 2], 0, 0), frame=PROGRESSIVE)

    assert facts_of(data) == (PROGRESSIVE, 1, 11 + 6, 17 * 128)


def test_a_file_without_a_frame_has_no_coding() -> None:
    assert facts_of(b"\xff\xd8\xff\xe0\0\4ab\xff\xd9") == (None, 0, 0, 0)


def test_markers_that_are_cut_short_are_no_error() -> None:
    whole = jpegs.jpeg(80, 48, FULL_COLOUR, jpegs.start([1, 2, 3], 0, 0), frame=PROGRESSIVE)

    for length in range(len(whole)):
        assert surveyed(whole[:length]).scans <= 1


def test_segments_are_counted_and_no_more_of_them_than_are_asked_for() -> None:
    data = b"\xff\xd8" + jpegs.marker(0xE5) * 5000 + b"\xff\xd9"

    assert survey(data, most_scans=100, most_segments=9000).segments == 5001
    assert surveyed(data).segments == 1001


def test_the_end_of_an_only_scan_is_told_and_stuffed_bytes_and_restarts_are_none() -> None:
    data = jpegs.jpeg(80, 48, FULL_COLOUR, jpegs.baseline(80, 48, [1, 2, 3]), frame=BASELINE)
    stuffed = data[:-2] + b"\xff\x00\xff\xff\xd0\1"
    restarts = jpegs.marker(0xDD, b"\0\7")

    assert surveyed(data).end == len(data) - 2
    assert surveyed(data[:-2]).end is None
    assert surveyed(stuffed + data[-2:]).end == len(stuffed) - 3
    assert surveyed(data[:2] + restarts + stuffed[2:] + data[-2:]).end == len(stuffed) + 6
    assert surveyed(written(80, 48, progressive=True)).end is None


def test_a_picture_is_complete_with_all_means_and_the_first_components_frequencies() -> None:
    def complete(*scans: bytes, frame: int = PROGRESSIVE) -> bool:
        return surveyed(jpegs.jpeg(80, 48, FULL_COLOUR, *scans, frame=frame)).complete

    means = jpegs.start([1, 2, 3], 0, 0)

    assert complete(means, jpegs.start([1], 1, 63))
    assert complete(jpegs.start([1], 6, 63), means, jpegs.start([1], 1, 5))
    assert not complete(means, jpegs.start([2], 1, 63), jpegs.start([1], 1, 62))
    assert not complete(jpegs.start([1, 2], 0, 0), jpegs.start([1], 1, 63))
    assert complete(jpegs.start([1]), jpegs.start([2]), jpegs.start([3]), frame=BASELINE)
    assert not complete(jpegs.start([1]), jpegs.start([3]), frame=BASELINE)
    assert not complete()
