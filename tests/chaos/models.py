"""The models that chaos strikes: their answers are known, and some inputs are deadly."""

from __future__ import annotations

from pathlib import Path

COLOUR = '''
import os
import time

from minion.model import Model

class Colour(Model):
    """The colour of a photo that has one: so each answer shows whose it is."""

    def load(self, context):
        self.seconds = context.options["seconds"]

    def predict(self, batch):
        time.sleep(self.seconds)
        return [{"colour": [int(c) for c in image[4, 4]]} for image in batch["image"]]
'''

SUM = '''
import os
import time

from minion.model import Model

class Sum(Model):
    """A negative number kills the process, as a bug in C would."""

    def load(self, context):
        self.seconds = context.options["seconds"]

    def predict(self, batch):
        if (batch["x"] < 0).any():
            os.abort()
        time.sleep(self.seconds)
        return [{"sum": float(x.sum())} for x in batch["x"]]
'''

MANIFEST = """
name = "{name}"
version = "1.0.0"
entry = "{name}:{entry}"
analyze = {analyze}
{inputs}
{outputs}
[batching]
max_batch_size = 8
max_queue_delay = "2ms"
[admission]
queue_limit = 64
[resources]
workers = 2
predict_timeout = "2s"
load_timeout = "10s"
[options]
seconds = 0.005
"""


def packages(folder: Path) -> list[Path]:
    """`colour`, which looks at photos, and `sum`, which takes numbers."""
    made = []
    for name, source, values in (
        (
            "colour", COLOUR,
            {
                "entry": "Colour", "analyze": "true",
                "inputs": '[input.image]\ndtype = "uint8"\nshape = [8, 8, 3]\nresize = "stretch"',
                "outputs": '[output.colour]\ntype = "array"',
            },
        ),
        (
            "sum", SUM,
            {
                "entry": "Sum", "analyze": "false",
                "inputs": '[input.x]\ndtype = "float64"\nshape = [4]',
                "outputs": '[output.sum]\ntype = "number"',
            },
        ),
    ):  # fmt: skip
        package = folder / name
        package.mkdir(parents=True)
        (package / "model.toml").write_text(MANIFEST.format(name=name, **values))
        (package / f"{name}.py").write_text(source)
        made.append(package)
    return made
