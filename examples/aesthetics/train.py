"""Trains `weights/aesthetics.keras` on degraded copies of real photos. A few minutes.

python train.py, in an environment made from train-requirements.txt. Measured on
photos that training never sees (`degrade.held_out_photos`).
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from degrade import (
    KINDS,
    degraded,
    held_out_photos,
    random_severities,
    training_photos,
    varied,
    view,
)
from keras import layers
from scipy.stats import spearmanr

SEED = 0
EXAMPLES = 10_000
EPOCHS = 13
PATCH = 128  # trained on quarters of a view: the network is the same for any size
WEIGHTS = Path(__file__).parent / "weights" / "aesthetics.keras"
MARGIN = 0.1  # pairs closer in true quality than this are not compared


def network() -> tuple[keras.Model, keras.Model]:
    """The scorer, (n, h, w, 3) uint8 RGB -> (n, 1) float32 in 0..1, and the model that trains it.

    The second also names the severity of each kind: a harder lesson, which keeps
    the first from learning the photos by heart. Only averages are pooled, since
    what is served is larger than what is trained on.
    """
    image = keras.Input((None, None, 3), dtype="uint8")
    pixels = layers.Rescaling(1 / 255)(image)
    detail = layers.DepthwiseConv2D(3, padding="same", use_bias=False, trainable=False)
    x = layers.Concatenate()([pixels, detail(pixels)])
    kernel = np.full((3, 3, 3, 1), -4 / 9, np.float32)  # four times what a 3 by 3 mean leaves
    kernel[1, 1] += 4
    detail.set_weights([kernel])
    for filters in (32, 48, 64, 96):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(64, activation="relu")(x)
    quality = layers.Dense(1, activation="sigmoid", name="quality")(x)
    severities = layers.Dense(len(KINDS), activation="sigmoid", name="severities")(x)
    outputs = {"quality": quality, "severities": severities}
    return keras.Model(image, quality), keras.Model(image, outputs)


def patches(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    photos = training_photos()
    images = np.empty((EXAMPLES, PATCH, PATCH, 3), np.uint8)
    qualities = np.empty((EXAMPLES, 1), np.float32)
    severities = np.zeros((EXAMPLES, len(KINDS)), np.float32)
    for index in range(EXAMPLES):
        photo = photos[rng.integers(len(photos))]
        chosen = random_severities(rng)
        image, quality = degraded(varied(view(photo, rng), rng), chosen, rng)
        top, left = rng.integers(0, image.height - PATCH + 1, 2)
        images[index] = np.asarray(image)[top : top + PATCH, left : left + PATCH]
        qualities[index] = quality
        severities[index] = [chosen.get(kind, 0.0) for kind in KINDS]
    return images, {"quality": qualities, "severities": severities}


def scores(model: keras.Model, images: list[object]) -> np.ndarray:
    stacked = np.stack([np.asarray(image) for image in images])
    return model.predict(stacked, batch_size=16, verbose=0)[:, 0]


def ranking(found: np.ndarray, true: np.ndarray) -> float:
    """How often, of two pictures, the one of truly higher quality has the higher score."""
    first, second = np.triu_indices(len(true), k=1)
    apart = np.abs(true[first] - true[second]) >= MARGIN
    agree = (found[first] > found[second]) == (true[first] > true[second])
    return float(agree[apart].mean())


def measure(model: keras.Model, rng: np.random.Generator) -> None:
    every_found, every_true, within = [], [], []
    for name, photo in held_out_photos().items():
        copies = [degraded(view(photo, rng), random_severities(rng), rng) for _ in range(80)]
        found = scores(model, [image for image, _ in copies])
        true = np.array([quality for _, quality in copies])
        within.append(ranking(found, true))
        print(f"  {name}: pairwise {within[-1]:.3f} spearman {spearmanr(found, true)[0]:.3f}")
        every_found.append(found)
        every_true.append(true)
    found, true = np.concatenate(every_found), np.concatenate(every_true)
    print(f"held-out photos, pairs of one photo: {np.mean(within):.4f}")
    print(f"held-out photos, all pairs: {ranking(found, true):.4f}")
    print(f"spearman {spearmanr(found, true)[0]:.3f}, mean error {np.abs(found - true).mean():.3f}")
    for kind in KINDS:
        steps = np.linspace(0, 1, 6).tolist()
        photo = held_out_photos()["coffee"].resize((256, 256))
        row = scores(model, [degraded(photo, {kind: step}, rng)[0] for step in steps])
        print(f"  coffee, {kind} 0 to 1:", " ".join(f"{value:.2f}" for value in row))


def main() -> None:
    keras.utils.set_random_seed(SEED)
    tf.config.threading.set_intra_op_parallelism_threads(2)
    rng = np.random.default_rng(SEED)
    images, targets = patches(rng)
    scorer, trainer = network()
    steps = EPOCHS * (EXAMPLES // 32)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    trainer.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=1e-3), loss="mse")
    trainer.fit(images, targets, batch_size=32, epochs=EPOCHS, verbose=2)
    WEIGHTS.parent.mkdir(exist_ok=True)
    scorer.save(WEIGHTS)
    measure(scorer, np.random.default_rng(SEED + 1))


if __name__ == "__main__":
    main()
