"""ResNet-18 with weights drawn from a seed. Runs in the environments that have torch.

He et al., Deep Residual Learning, 2015, table 1, 18 layers: 11.7 million
parameters. Nothing is trained: what is measured is the arithmetic. Channels-last,
and in bfloat16 where the CPU multiplies that: 5.6 ms an image in batches of 8
where float32 takes 28 (one core of a shared Xeon). Elsewhere that would be
imitated, in 240 ms where float32 takes 50 (one core of a shared EPYC).
"""

from __future__ import annotations

import sys

import torch
from torch import nn

CLASSES = 1000
SIDE = 224


def precision() -> torch.dtype:
    """What this CPU is quickest in."""
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able["avx512_bf16"] or able["amx_bf16"] else torch.float32


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(pixels) + self.shortcut(pixels))


def network() -> nn.Module:
    """Input (n, 3, 224, 224), normalised; output (n, 1000) logits."""
    stages: list[nn.Module] = []
    channels = 64
    for out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        stages += [Block(channels, out, stride), Block(out, out, 1)]
        channels = out
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        *stages,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, CLASSES),
    )


def drawn(seed: int) -> nn.Module:
    """The network with the weights of a seed: the same ones in every process."""
    torch.manual_seed(seed)
    return network()


def served(net: nn.Module) -> nn.Module:
    """As every server runs it."""
    return net.eval().to(precision(), memory_format=torch.channels_last)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """(n, 224, 224, 3) uint8 to (n, 3, 224, 224) around zero, in the same order."""
    return pixels.permute(0, 3, 1, 2).to(precision()).sub_(127.5).div_(58.0)


def top5(logits: torch.Tensor) -> list[list[dict[str, float]]]:
    """Per example the five likeliest classes, the likeliest first."""
    scores, classes = logits.float().softmax(dim=1).topk(5)
    return [
        [{"class": number, "score": score} for number, score in zip(*row)]  # noqa: B905
        for row in zip(classes.tolist(), scores.tolist())  # noqa: B905
    ]


if __name__ == "__main__":
    torch.save(drawn(int(sys.argv[2])).state_dict(), sys.argv[1])
