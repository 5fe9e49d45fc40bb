import time

from minion.model import Model


class Colour(Model):
    """Takes so many `seconds`, if that option is there."""

    def load(self, context):
        self.seconds = context.options.get("seconds", 0.0)

    def predict(self, batch):
        time.sleep(self.seconds)
        return [{"colour": image.mean((0, 1)).tolist()} for image in batch["image"]]
