"""Trains `weights/tagger.pt` on the photos of scikit-image and scikit-learn. A few minutes.

python train.py, in an environment made from train-requirements.txt. Most
subjects have one photo: the network sees random crops of it, and is measured on
other crops with distortions of kinds that training never used (blur, noise,
JPEG). Photos of `HELD_OUT` are not trained on at all.
"""

from __future__ import annotations

import io
from pathlib import Path

import network
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from skimage import data
from sklearn.datasets import load_sample_image

SEED = 0
SIDE = 128
STEPS = 1500
BATCH = 32
WEIGHTS = Path(__file__).parent / "weights" / "tagger.pt"
SMALLEST_CROP = 0.45  # of the photo's shorter side


def pictures(*arrays: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(array).convert("RGB") for array in arrays]


def faces(first: int, last: int) -> list[Image.Image]:
    return pictures(*(data.lfw_subset()[first:last] * 255).astype(np.uint8))


def photos() -> dict[str, list[Image.Image]]:
    left, _, _ = data.stereo_motorcycle()
    return {
        "brick wall": pictures(data.brick()),
        "building": pictures(load_sample_image("china.jpg")),
        "cat": pictures(data.chelsea()),
        "cell": pictures(data.immunohistochemistry()),
        "clock": pictures(data.clock()),
        "coffee": pictures(data.coffee()),
        "coins": pictures(data.coins()),
        "flower": pictures(load_sample_image("flower.jpg")),
        "galaxies": pictures(data.hubble_deep_field()),
        "grass": pictures(data.grass()),
        "gravel": pictures(data.gravel()),
        "moon": pictures(data.moon()),
        "motorcycle": pictures(left),
        "person": pictures(data.astronaut()) * 20 + faces(0, 80),
        "retina": pictures(data.retina()),
        "rocket": pictures(data.rocket()),
        "text": pictures(data.page()),
    }


def held_out() -> dict[str, list[Image.Image]]:
    """Photos that training never sees, for the few subjects that have another one."""
    _, right, _ = data.stereo_motorcycle()
    return {
        "motorcycle (the other eye's view)": pictures(right),
        "person (20 faces of 25 by 25 pixels)": faces(80, 100),
        "person (the cameraman)": pictures(data.camera()),
        "text (a blackboard)": pictures(data.text()),
    }


def crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random square, turned a little, possibly mirrored, scaled to what is served."""
    short = min(photo.size)
    side = int(short * rng.uniform(SMALLEST_CROP, 1.0)) if short > SIDE else short
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    square = photo.resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
    )
    square = square.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)
    return ImageOps.mirror(square) if rng.random() < 0.5 else square


def recoloured(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.6, 1.4))
    return ImageOps.grayscale(image).convert("RGB") if rng.random() < 0.1 else image


def distorted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur, noise or JPEG: kinds that training does not use."""
    kind = rng.integers(3)
    if kind == 0:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5)))
    if kind == 1:
        noisy = np.asarray(image) + rng.normal(0, rng.uniform(4, 12), (SIDE, SIDE, 3))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(25, 70)))
    return Image.open(file).convert("RGB")


def tensor(images: list[Image.Image]) -> torch.Tensor:
    return network.normalised(torch.from_numpy(np.stack([np.asarray(image) for image in images])))


def train(rng: np.random.Generator) -> torch.nn.Module:
    subjects = photos()
    net = network.network().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=STEPS)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    for step in range(STEPS):
        labels = rng.integers(0, len(network.LABELS), BATCH)
        images = []
        for label in labels:
            choices = subjects[network.LABELS[label]]
            images.append(recoloured(crop(choices[rng.integers(len(choices))], rng), rng))
        loss = loss_of(net(tensor(images)), torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    return net.eval()


def measure(net: torch.nn.Module, rng: np.random.Generator) -> None:
    right, total = 0, 0
    for label, choices in photos().items():
        images = [
            distorted(crop(choices[rng.integers(len(choices))], rng), rng) for _ in range(100)
        ]
        found = (net(tensor(images)).argmax(dim=1) == network.LABELS.index(label)).sum().item()
        print(f"  {label}: {found} of 100")
        right, total = right + found, total + 100
    print(f"unseen crops and distortions: accuracy {right / total:.4f} of {total}")
    for name, choices in held_out().items():
        label = network.LABELS.index(name.partition(" (")[0])
        images = [crop(choice, rng) for choice in choices for _ in range(100 // len(choices))]
        found = (net(tensor(images)).argmax(dim=1) == label).float().mean().item()
        print(f"held-out photo, {name}: {found:.2f}")


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    net = train(np.random.default_rng(SEED))
    WEIGHTS.parent.mkdir(exist_ok=True)
    torch.save(net.state_dict(), WEIGHTS)
    with torch.inference_mode():
        measure(net, np.random.default_rng(SEED + 1))


if __name__ == "__main__":
    main()
