"""Trains the captioner and writes it as a SavedModel and as a frozen graph. Some minutes.

python train.py, in an environment made from train-requirements.txt. The frozen
graph goes to the package `caption-frozen` beside this one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from scenes import LENGTH, SIDE, WORDS, scene, tokens
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

SEED = 0
EXAMPLES = 14_000
EPOCHS = 12
BATCH = 50
UNITS = 128
HERE = Path(__file__).parent
SAVED_MODEL = HERE / "weights" / "saved_model"
FROZEN = HERE.parent / "caption-frozen" / "weights" / "frozen_graph.pb"


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 96, 96, 3) uint8 and (count, 16) int32."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    sentences = np.empty((count, LENGTH), np.int32)
    for index in range(count):
        image, sentence = scene(rng)
        images[index] = np.asarray(image)
        sentences[index] = tokens(sentence)
    return images, sentences


class Captioner(keras.Model):
    """A code of the whole picture drives the decoder, which looks at one place for each word."""

    def __init__(self) -> None:
        super().__init__()
        # (n, 96, 96, 3) -> (n, 12, 12, 64); a cell sees 39 pixels, more than a small shape.
        self.places = keras.Sequential(
            [
                layers.Rescaling(1 / 127.5, offset=-1),
                *convolution(24, 2),
                *convolution(32, 2),
                *convolution(32, 1),
                *convolution(48, 2),
                *convolution(64, 1),
            ]
        )
        self.whole = keras.Sequential(
            [*convolution(32, 2), layers.Flatten(), layers.Dense(96, activation="relu")]
        )
        self.start = layers.Dense(UNITS, activation="tanh")
        self.embedding = layers.Embedding(len(WORDS), 32)
        self.decoder = layers.GRU(UNITS, return_sequences=True)
        self.query = layers.Dense(64)
        self.head = layers.Dense(len(WORDS))

    def look(self, states: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """(n, words, units) and (n, 12, 12, 64) -> logits (n, words, len(WORDS))."""
        cells = keras.ops.reshape(places, (-1, 144, 64))
        relevance = keras.ops.einsum("nwc,npc->nwp", self.query(states), cells) / 8.0
        seen = keras.ops.einsum("nwp,npc->nwc", keras.ops.softmax(relevance), cells)
        return self.head(keras.ops.concatenate([states, seen], axis=-1))

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Pictures and the words before each word -> logits (n, 16, words)."""
        image, previous = inputs
        places = self.places(image, training=training)
        code = self.whole(places, training=training)
        repeated = keras.ops.repeat(code[:, None, :], LENGTH, axis=1)
        steps = keras.ops.concatenate([self.embedding(previous), repeated], axis=-1)
        return self.look(self.decoder(steps, initial_state=self.start(code)), places)

    def describe(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """The likeliest next word, sixteen times; confidence is the product over the words."""
        places = self.places(image, training=False)
        code = self.whole(places, training=False)
        state, word = self.start(code), tf.zeros(tf.shape(image)[0], tf.int32)
        words, certainty = [], tf.ones(tf.shape(image)[0])
        for _ in range(LENGTH):
            step = tf.concat([self.embedding(word), code], axis=-1)
            output, (state,) = self.decoder.cell(step, [state])
            chances = tf.nn.softmax(self.look(output[:, None, :], places)[:, 0])
            word = tf.argmax(chances, axis=-1, output_type=tf.int32)
            certainty *= tf.reduce_max(chances, axis=-1)
            words.append(word)
        return {"tokens": tf.stack(words, axis=1), "confidence": certainty}


def convolution(filters: int, stride: int) -> list[layers.Layer]:
    return [
        layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
    ]


def export(model: Captioner) -> None:
    image = tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")
    concrete = tf.function(model.describe, input_signature=[image]).get_concrete_function()
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    shutil.rmtree(SAVED_MODEL, ignore_errors=True)
    tf.saved_model.save(module, str(SAVED_MODEL), signatures=concrete)
    (HERE / "weights" / "words.json").write_text(json.dumps(WORDS))

    frozen = convert_variables_to_constants_v2(concrete)
    FROZEN.parent.mkdir(exist_ok=True)
    FROZEN.write_bytes(frozen.graph.as_graph_def().SerializeToString(deterministic=True))
    shutil.copy(HERE / "weights" / "words.json", FROZEN.with_name("words.json"))
    print("inputs", [tensor.name for tensor in frozen.inputs])
    print("outputs", dict(zip(sorted(concrete.structured_outputs), frozen.outputs, strict=True)))


def measure() -> None:
    """What the exported SavedModel says of scenes it has never seen."""
    describe = tf.saved_model.load(str(SAVED_MODEL)).signatures["serving_default"]
    images, true = scenes(1000, SEED + 1)
    found = np.concatenate(
        [describe(image=images[i : i + 50])["tokens"].numpy() for i in range(0, 1000, 50)]
    )
    right = found == true
    counted = np.cumsum(true == 0, axis=1) <= 1  # the words and the end of the sentence
    print(f"exact match {right.all(axis=1).mean():.3f} of 1000 held-out scenes")
    print(f"token accuracy {right[counted].mean():.4f}")


def main() -> None:
    keras.utils.set_random_seed(SEED)
    tf.config.threading.set_intra_op_parallelism_threads(2)
    images, sentences = scenes(EXAMPLES, SEED)
    previous = np.pad(sentences, ((0, 0), (1, 0)))[:, :-1]
    model = Captioner()
    rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * (EXAMPLES // BATCH))
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit((images, previous), sentences, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    export(model)
    measure()


if __name__ == "__main__":
    main()
