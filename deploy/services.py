"""What a host on this machine should serve, as plain values.

From a version in the registry, or the settings of the image tier, to the spec
that a host is started with. Starts nothing and asks nobody.
"""

from __future__ import annotations

import sys

from coordinator.config import Settings
from coordinator.decoder import DECODER, DECODER_INPUT, DECODER_VERSION
from deploy.machine import cores
from deploy.preloading import preloads
from deploy.templates import TemplateKey
from minion.host.spec import InputSpec, ServiceSpec
from model_registry.snapshot import ModelEntry, Version

#: Photos that may wait for the decoders; each costs tens of milliseconds.
DECODER_QUEUE_LIMIT = 256
#: Of a decoder: what models ask for, at most 50 MB for each array, what numpy and Pillow hold, and
#: what a library may leak before the worker is replaced.
DECODER_REST_BYTES = 2**30
#: And the photo itself, which the decoder holds to a little less.
DECODER_BYTES_PER_PIXEL = 7


def model_service(
    entry: ModelEntry, version: Version, *, replica: str, python: str, template: str | None
) -> ServiceSpec:
    """A version with the settings in force.

    Args:
        python: the interpreter of its environment.
        template: the socket of what forks its workers, if anything does.
    """
    manifest, settings = version.manifest, entry.settings_for(version.version)
    return ServiceSpec(
        model=version.model,
        version=version.version,
        replica=replica,
        epoch=0,
        python=python,
        template=template,
        directory=str(version.directory),
        entry=manifest.entry,
        inputs={name: InputSpec(spec.dtype, spec.shape) for name, spec in manifest.inputs.items()},
        queue_limit=settings.queue_limit,
        promise_seconds=settings.promise,
        max_batch_size=settings.max_batch_size,
        max_queue_delay_seconds=settings.max_queue_delay,
        settings_revision=settings.revision,
        workers=manifest.resources.workers,
        spares=manifest.resources.spares,
        threads=manifest.resources.threads,
        device=manifest.resources.device,
        load_timeout_seconds=manifest.resources.load_timeout,
        predict_timeout_seconds=manifest.resources.predict_timeout,
        memory_bytes=manifest.resources.memory,
        temporary_bytes=manifest.resources.temporary,
        max_requests=manifest.resources.max_requests,
        options=dict(manifest.options),
        torch=manifest.torch,
        outputs=dict(manifest.outputs),
        pure=manifest.pure,
    )


def template_key(version: Version, *, python: str) -> TemplateKey | None:
    """The template from which a version's workers come; None where they are started plainly.

    More threads than one, and numpy's BLAS starts them when it is imported: nothing can be
    forked from that.
    """
    manifest = version.manifest
    if manifest.resources.threads != 1:
        return None
    modules = preloads(version.directory, manifest.entry)
    return TemplateKey(python, modules)


def decoder_service(settings: Settings, *, replica: str) -> ServiceSpec:
    """The image tier, which runs in the platform's own environment."""
    return ServiceSpec(
        model=DECODER,
        version=DECODER_VERSION,
        replica=replica,
        epoch=0,
        python=sys.executable,
        directory=str(settings.home),
        entry="preprocess.model:Decoder",
        inputs={DECODER_INPUT: InputSpec("uint8", (-1,))},
        queue_limit=DECODER_QUEUE_LIMIT,
        max_batch_size=1,
        max_queue_delay_seconds=0.0,
        workers=settings.decoder_workers or cores(),
        predict_timeout_seconds=settings.decode_timeout,
        memory_bytes=DECODER_REST_BYTES + DECODER_BYTES_PER_PIXEL * settings.max_image_pixels,
        options={"max_pixels": settings.max_image_pixels, "cpu_seconds": settings.decode_cpu},
    )
