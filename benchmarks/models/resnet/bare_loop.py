"""The floor: the same network without a server and without our base, batch after batch.

bare_loop.py DEVICE BATCH PRECISION COMPILE, `-` for neither. For each line of its input, a
number of seconds, prints images per second. Runs under the model's interpreter.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import resnet
import torch


def main(device: str, size: int, precision: str, mode: str) -> None:
    torch.set_num_threads(1)
    dtype = torch.float32 if precision == "-" else getattr(torch, precision)
    net = resnet.drawn(0).eval().to(device, dtype, memory_format=torch.channels_last)
    net = net if mode == "-" else torch.compile(net, mode=mode)
    images = np.random.default_rng(0).integers(0, 255, (size, 224, 224, 3), np.uint8)

    def batch() -> list[int]:
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).to(dtype)
        return net(pixels.sub_(127.5).div_(58.0)).argmax(dim=1).tolist()

    with torch.inference_mode():
        for _ in range(3):
            batch()
        print("warm", flush=True)
        for line in sys.stdin:
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < float(line):
                batch()
                count += size
            print(count / (time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
