"""Who is compared, and how each is asked: where, in which protocol, with which headers."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.items import Item
from benchmarks.peers.task import PICTURES, Work
from benchmarks.requests import NUMBER, Request

FOLDER = Path(__file__).parent

CONTENT_TYPES = {
    Work.TENSOR: "application/octet-stream",
    Work.JSON: "application/json",
    Work.PHOTO: "image/jpeg",
    Work.PIXELS: "application/octet-stream",
}


def body_as_it_is(path: str) -> Callable[[Item], Request]:
    """For servers that hand a model whatever was posted."""
    return lambda item: Request(path, item.body(), {"Content-Type": CONTENT_TYPES[item.work]})


def to_demitasse(item: Item) -> Request:
    if item.networks > 1:
        models = ",".join(f"photo-{seed}" for seed in range(item.networks))
        path = f"/analyze?models={models}"
    else:
        path = f"/models/{'photo-0' if item.work in PICTURES else 'noop'}/infer"
    return body_as_it_is(path)(item)


def to_triton(item: Item) -> Request:
    """Raw binary, with no JSON in front of it; W1b in the JSON of its protocol."""
    path = "/v2/models/model/infer"
    if item.work is Work.JSON:
        return Request(path, _open_inference("FP32", b"[1,%b]" % NUMBER, 2), _JSON)
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "0"}
    return Request(path, item.body(), headers)


def to_mlserver(item: Item) -> Request:
    path = "/v2/models/model/infer"
    if item.work is Work.JSON:
        return Request(path, _open_inference("FP32", b"[1,%b]" % NUMBER, 2), _JSON)
    return Request(path, _open_inference("BYTES", b'["%b"]' % _base64(item.body()), 1), _JSON)


def to_bentoml(item: Item) -> Request:
    """A list of one: in JSON, or as a form with one file."""
    if item.work is Work.JSON:
        return Request(
            "/numbers", b'{"inputs":[{"x":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,%b]}]}' % NUMBER, _JSON
        )
    lines = [
        b"--boundary",
        b'Content-Disposition: form-data; name="files"; filename="body"',
        b"Content-Type: application/octet-stream",
        b"",
        item.body(),
        b"--boundary--",
        b"",
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=boundary"}
    return Request("/files", b"\r\n".join(lines), headers)


_JSON = {"Content-Type": "application/json"}


def _open_inference(datatype: str, data: bytes, length: int) -> bytes:
    return b'{"inputs":[{"name":"body","shape":[1,%d],"datatype":"%b","data":%b}]}' % (
        length, datatype.encode(), data,
    )  # fmt: skip


def _base64(body: bytes) -> bytes:
    """With the number where it is harmless: whole groups of the body's own number's neighbourhood.

    Eight digits are two groups of base64, six bytes of the body. They begin at the
    next multiple of three, and end in what the body has behind its number: padding.
    """
    text = base64.b64encode(body)
    start = -(-body.index(NUMBER) // 3) * 4
    return text[:start] + NUMBER + text[start + len(NUMBER) :]


def no_variables(port: int, home: str) -> Mapping[str, str]:
    return {}


def of_ray(port: int, home: str) -> Mapping[str, str]:
    """What its guide for production switches on; HAProxy's places are one per machine."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{home}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{home}/haproxy.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": home,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{home}/haproxy-state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(port + 1),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(port + 2),
    }


@dataclass(frozen=True)
class Peer:
    """A server in the folder of its key in `PEERS`."""

    title: str
    package: str
    """Whose version is shown."""
    request: Callable[[Item], Request]
    variables: Callable[[int, str], Mapping[str, str]] = no_variables
    """Its environment, from its port and the folder that is its home."""
    programs: tuple[str, ...] = ()
    """What else has to be installed on the machine."""


PEERS = {
    "demitasse": Peer("**Demitasse**", "demitasse", to_demitasse),
    "aiohttp": Peer("*bare aiohttp + uvloop*", "aiohttp", body_as_it_is("/")),
    "mosec": Peer("mosec", "mosec", body_as_it_is("/inference")),
    "triton": Peer("Triton (Python backend)", "nvidia-pytriton", to_triton),
    "torchserve": Peer(
        "TorchServe", "torchserve", body_as_it_is("/predictions/model"), programs=("java",)
    ),
    "ray": Peer(
        "Ray Serve (HAProxy)", "ray", body_as_it_is("/"),
        variables=of_ray,
    ),
    "mlserver": Peer("MLServer", "mlserver", to_mlserver),
    "bentoml": Peer("BentoML", "bentoml", to_bentoml),
    "litserve": Peer("LitServe", "litserve", body_as_it_is("/predict")),
}  # fmt: skip


def requirements(name: str) -> Path:
    return FOLDER / name / "requirements.txt"


def pinned(name: str) -> str:
    """The version of a peer, from its requirements."""
    found = re.search(
        rf"^{re.escape(PEERS[name].package)}==(\S+)", requirements(name).read_text(), re.M
    )
    if found is None:
        raise LookupError(f"{requirements(name)} does not pin {PEERS[name].package}")
    return found[1]
