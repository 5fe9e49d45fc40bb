"""A photo's mean colour. With option `fails`, nothing but an exception."""

from minion.model import Model


class Picture(Model):
    def load(self, context):
        self.fails = context.options.get("fails", False)

    def predict(self, batch):
        if self.fails:
            raise RuntimeError("it always does")
        return [{"colour": image.mean((0, 1)).round().tolist()} for image in batch["image"]]

    def warmup(self, batch):
        """Zeros are as good as any."""
