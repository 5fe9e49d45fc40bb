"""What a photo costs until it is 224 x 224, by every library that could do it.

CPU ms in one thread, PSNR against a full decode and Pillow's bicubic, peak memory
of a process that does nothing else, and how much two threads do of what one does
(near 2: the interpreter lock is released). Then what two sizes of one photo cost,
and two processes beside two threads. Rounds are interleaved; shown are medians, of
the CPU time those of each round's least.

The platform needs none of the other libraries, so this runs in an environment
of its own, from the root of the repository:

    uv venv /tmp/decoding && . /tmp/decoding/bin/activate
    uv pip install -r requirements.lock simplejpeg opencv-python-headless \
        "pyvips[binary]" scikit-image scikit-learn
    python -m benchmarks.decoding
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from preprocess.decode import decode_image
from preprocess.transforms import Resize, Transform, render

SIDE, SMALL = 224, 96
#: What a reduced decode must leave of the wanted size, on both axes.
LEAST = 2 * SIDE
ROUNDS = 3
BICUBIC = Image.Resampling.BICUBIC

Pixels = npt.NDArray[np.uint8]
Route = Callable[[bytes], Pixels]


def stretched(side: int) -> Transform:
    return Transform(side, side, Resize.STRETCH)


def ours(file: bytes) -> Pixels:
    return render(_decoded(file, SIDE), stretched(SIDE))


def _decoded(file: bytes, *sides: int) -> Any:
    return decode_image(file, max_pixels=40_000_000, transforms=[*map(stretched, sides)])


def pillow(file: bytes) -> Pixels:
    return np.asarray(Image.open(BytesIO(file)).convert("RGB").resize((SIDE, SIDE), BICUBIC))


def pillow_draft(file: bytes) -> Pixels:
    image = Image.open(BytesIO(file))
    image.draft("RGB", (LEAST, LEAST))
    return np.asarray(image.resize((SIDE, SIDE), BICUBIC))


def simplejpeg_and(resize: Callable[[Pixels], Pixels]) -> Route:
    import simplejpeg

    return lambda file: resize(
        simplejpeg.decode_jpeg(file, "RGB", min_height=LEAST, min_width=LEAST)
    )


def with_pillow(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), BICUBIC))


def with_cykooz(pixels: Pixels) -> Pixels:
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer

    height, width = pixels.shape[:2]
    target = ImageData(SIDE, SIDE, PixelType.U8x3)
    Resizer().resize(
        ImageData(width, height, PixelType.U8x3, pixels.tobytes()),
        target,
        ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.catmull_rom)),
    )
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(SIDE, SIDE, 3)


def vips_thumbnail() -> Route:
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips

    pyvips.cache_set_max(0)
    return lambda file: pyvips.Image.thumbnail_buffer(file, SIDE, height=SIDE, size="force").numpy()


def opencv(reduced: bool) -> Route:
    import cv2

    cv2.setNumThreads(1)

    def route(file: bytes) -> Pixels:
        least = min(Image.open(BytesIO(file)).size) / LEAST if reduced else 1
        divisor = max(each for each in (1, 2, 4, 8) if each <= max(1, least))
        flag = cv2.IMREAD_COLOR if divisor == 1 else getattr(cv2, f"IMREAD_REDUCED_COLOR_{divisor}")
        image = cv2.cvtColor(cv2.imdecode(np.frombuffer(file, np.uint8), flag), cv2.COLOR_BGR2RGB)
        return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

    return route


ROUTES: dict[str, Callable[[], Route]] = {
    "Pillow": lambda: pillow,
    "Pillow draft": lambda: pillow_draft,
    "Pillow draft, cykooz (ours)": lambda: ours,
    "simplejpeg, Pillow": lambda: simplejpeg_and(with_pillow),
    "simplejpeg, cykooz": lambda: simplejpeg_and(with_cykooz),
    "pyvips thumbnail": vips_thumbnail,
    "OpenCV, area": lambda: opencv(reduced=False),
    "OpenCV reduced, area": lambda: opencv(reduced=True),
}


def make_photos(folder: Path) -> None:
    """Packaged photos side by side at about the sharpness of a camera, with its noise."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    names = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina")
    tiles = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]
    tiles += [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    sizes = {"1024 x 768": (1024, 768, 400), "2 MP": (1632, 1224, 500), "12 MP": (4000, 3000, 920)}
    for name, size in sizes.items():
        _mosaic(tiles, *size).save(folder / f"{name}.jpg", quality=90)


def _mosaic(tiles: list[Image.Image], width: int, height: int, row: int) -> Image.Image:
    canvas, left, top, number = Image.new("RGB", (width, height)), 0, 0, 0
    while top < height:
        tile = tiles[number % len(tiles)]
        tile = tile.resize((tile.width * row // tile.height, row), Image.Resampling.LANCZOS)
        canvas.paste(tile, (left, top))
        left, number = left + tile.width, number + 1
        if left >= width:
            left, top = 0, top + row
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 3))
    return Image.fromarray((np.asarray(canvas) + noise).clip(0, 255).astype(np.uint8))


def psnr(one: Pixels, other: Pixels) -> float:
    return 10 * math.log10(255**2 / max(1e-9, float(np.mean((one.astype(float) - other) ** 2))))


def cpu_ms(work: Callable[[], object], times: int) -> float:
    work()
    spent = []
    for _ in range(times):
        started = time.process_time()
        work()
        spent.append((time.process_time() - started) * 1000)
    return min(spent)


def threads_scale(route: Route, file: bytes, times: int) -> float:
    """What two threads do in the time in which one does 1."""
    seconds = []
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            started = time.perf_counter()
            list(pool.map(route, [file] * times * 2))
            seconds.append(time.perf_counter() - started)
    return seconds[0] / seconds[1]


def measure(name: str, path: Path) -> dict[str, float]:
    """In this process, which has done nothing else."""
    route, file = ROUTES[name](), path.read_bytes()
    pixels = route(file)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = 3 if len(file) > 2**20 else 15
    return {
        "ms": cpu_ms(lambda: route(file), times),
        "psnr": psnr(pixels, pillow(file)),
        "peak": peak,
        "threads": threads_scale(route, file, times),
    }


def measured_alone(name: str, path: Path) -> dict[str, float] | str:
    """In a fresh process; why not, where its library is missing."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.decoding", "--route", name, str(path)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2]
    told: dict[str, float] = json.loads(done.stdout)
    return told


def print_routes(paths: dict[str, Path]) -> None:
    print("| photo | route | CPU ms | PSNR dB | peak MB | two threads |\n|" + " --- |" * 6)
    for photo, path in paths.items():
        rounds = [{name: measured_alone(name, path) for name in ROUTES} for _ in range(ROUNDS)]
        for name in ROUTES:
            found = [each for told in rounds if isinstance(each := told[name], dict)]
            if not found:
                print(f"| {photo} | {name} | {rounds[0][name]} | | | |")
                continue
            ms, db, peak, two = (
                statistics.median(each[key] for each in found)
                for key in ("ms", "psnr", "peak", "threads")
            )
            print(f"| {photo} | {name} | {ms:.1f} | {db:.1f} | {peak:.0f} | {two:.2f} x |")


def print_sizes(paths: dict[str, Path]) -> None:
    """The small size from what was decoded, as we do it, and from the larger one."""
    print(f"\n| photo | {SIDE} and {SMALL}: ms | {SMALL} from | ms | PSNR dB |\n|" + " --- |" * 5)
    for photo, path in paths.items():
        file = path.read_bytes()
        picture = _decoded(file, SIDE, SMALL)
        large = Image.fromarray(render(picture, stretched(SIDE)))
        derived = type(picture)(large, large.size, 1, "JPEG", *large.size)
        full = Image.open(BytesIO(file)).convert("RGB")
        wanted = np.asarray(full.resize((SMALL, SMALL), BICUBIC))
        both = cpu_ms(lambda file=file: _both(file), 7)
        for source, name in ((picture, "the decoded photo"), (derived, f"the one of {SIDE}")):
            ms = cpu_ms(lambda source=source: render(source, stretched(SMALL)), 31)
            db = psnr(render(source, stretched(SMALL)), wanted)
            print(f"| {photo} | {both:.1f} | {name} | {ms:.2f} | {db:.1f} |")


def _both(file: bytes) -> list[Pixels]:
    picture = _decoded(file, SIDE, SMALL)
    return [render(picture, stretched(side)) for side in (SIDE, SMALL)]


def print_processes(paths: dict[str, Path]) -> None:
    """Two processes with one thread each, and one with two: photos in a second."""
    print("\n| photo | one process | two threads | two processes |\n|" + " --- |" * 4)
    for photo, path in paths.items():
        rates: dict[tuple[int, int], list[float]] = {(1, 1): [], (1, 2): [], (2, 1): []}
        for _ in range(ROUNDS):
            for (processes, threads), rate in rates.items():
                rate.append(_rate(path, processes, threads))
        row = " | ".join(f"{statistics.median(rate):.0f}" for rate in rates.values())
        print(f"| {photo} | {row} |")


def _rate(path: Path, processes: int, threads: int) -> float:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.decoding", "--rate", str(threads), str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(processes)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()  # it has imported
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in started)


def answer_rate(path: Path, threads: int) -> None:
    file, seconds = path.read_bytes(), 1.5
    ours(file)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.perf_counter()

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() - begun < seconds:
            ours(file)
            done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(work, range(threads)))
    print(done / (time.perf_counter() - begun))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--route", choices=ROUTES)
    parser.add_argument("--rate", type=int, metavar="THREADS")
    parser.add_argument("--make", type=Path, metavar="FOLDER")
    parser.add_argument("photo", nargs="?", type=Path)
    asked = parser.parse_args()
    if asked.route:
        print(json.dumps(measure(asked.route, asked.photo)))
        return
    if asked.make:
        make_photos(asked.make)
        return
    if asked.rate:
        answer_rate(asked.photo, asked.rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        # A process inherits the peak of its parent, so that this one stays small.
        subprocess.run([sys.executable, "-m", "benchmarks.decoding", "--make", folder], check=True)
        paths = {path.stem: path for path in sorted(Path(folder).iterdir())}
        sizes = ", ".join(f"{n} of {path.stat().st_size // 1024} KB" for n, path in paths.items())
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
            f"CPython {platform.python_version()}, {time.strftime('%Y-%m-%d')}; photos: {sizes}\n"
        )
        print_routes(paths)
        print_sizes(paths)
        print_processes(paths)


if __name__ == "__main__":
    main()
