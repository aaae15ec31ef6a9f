"""The browser page, and what it asks for that MONAI Label's protocol has no request for."""

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, File, Form, HTTPException, Query, Request, Response, UploadFile

from pipelines.core.cardiac import find_ed_es, indices_from_volumes, structure_volumes_ml
from pipelines.core.errors import DataError
from pipelines.core.files import plain
from pipelines.core.plausibility import check_indices
from pipelines.core.records import FOREGROUND, LABEL_NAMES, AcdcLabel, Phase
from pipelines.core.volume import Volume, read_volume, write_image, write_label
from pipelines.datasets.xray_image import SUFFIXES
from pipelines.inference.inputs import NIFTI_SUFFIXES
from pipelines.server.admission import claimed_shape
from pipelines.server.images import ServedImage, load_image
from pipelines.server.label_file import read_sent_label
from pipelines.server.measurements import image_warnings, measure, rounded_indices
from pipelines.server.reports import FORMATS, REPORTER, LabelledImage, study_report
from pipelines.server.requests import json_object, received
from pipelines.server.routes import ServerContext, author_of, packed_answer, source_of
from pipelines.server.sessions import received_volume
from pipelines.server.tasks import LABELS
from pipelines.server.viewer_files import HEADERS, viewer_files
from pipelines.server.worker import PARSER
from pipelines.server.xrays import FilmReadings, Method, Word, XrayReader

MAX_FRAMES: Final = 200
"""Frames of the longest cine whose volumes are found; a beat has 12 to 60."""

SEGMENTS: Final = tuple({"name": name} for name in LABELS)
"""Names of the values of a label map that the page has drawn, in their order."""

MAX_ML: Final = 1e6
"""Largest volume that is taken from a request, mL; far more than any label map of a heart has."""

MAX_NAME: Final = 200
MAX_NOTE: Final = 2000
"""Longest name of a film and longest note on it, characters."""

Film = Annotated[str, Query(alias="image", pattern="^[0-9a-f]{64}$")]
"""SHA-256 of a film's file."""

Structure = Annotated[str, Query(pattern=f"^({'|'.join(LABELS)})$")]


def add_routes(router: APIRouter, context: ServerContext) -> None:
    """Add the routes below `/viewer/`."""
    files = viewer_files()
    films = FilmReadings(context.datastore.root)
    xrays = XrayReader(context.app.predictors.worker, device=context.app.predictors.device)

    @router.get("/viewer/data/label")
    def label(
        request: Request,
        image: str,
        version: Annotated[int | None, Query(ge=1)] = None,
        original: bool = False,
    ) -> Response:
        served, labels = context.datastore.image(image), context.datastore.labels
        found = (
            labels.read_newest(served.id)
            if version is None
            else labels.read_version(served.id, version, original=original)
        )
        if found is None:
            return Response(status_code=204)
        mask, record = found
        facts = _measured(context, request, served, mask.array, replace(mask, path=served.path))
        facts |= {name: record.get(name) for name in ("author", "time", "model", "doubts")}
        facts["label_version"] = record.get("number", 0)
        content = _packed(context.uploads, lambda path: write_label(path, mask.array, mask.affine))
        return packed_answer(facts, "label.nii.gz", content)

    @router.post("/viewer/data/measures")
    async def measures(
        request: Request, label: Annotated[UploadFile, File()], image: str = "", session_id: str = ""
    ) -> dict[str, Any]:
        source = source_of(context, request, image, session_id)

        def measured() -> dict[str, Any]:
            volume = read_volume(source)
            with received(label, context.uploads) as path:
                mask = read_sent_label(path, volume, SEGMENTS)
            served = None if session_id else context.datastore.image(image)
            return _measured(context, request, served, mask, volume)

        return await context.run(request, measured, "measures")

    @router.post("/viewer/data/indices")
    def indices(params: Annotated[str, Form()]) -> dict[str, Any]:
        sent = json_object(params)
        found = indices_from_volumes(*(_sent_volumes_ml(sent.get(phase.value)) for phase in Phase))
        return {"indices": rounded_indices(found), "index_warnings": check_indices(found)}

    @router.get("/viewer/data/cine")
    async def cine(request: Request, image: str) -> Response:
        load = _cine_loader(context, image)

        def packed() -> bytes:
            return _packed(context.uploads, lambda path: write_image(path, load()))

        return _nifti(await context.run(request, packed, "cine"), "cine")

    @router.post("/viewer/data/curve")
    async def curve(
        request: Request,
        image: str = "",
        file: Annotated[UploadFile | None, File()] = None,
        output: Annotated[str, Query(pattern="^(all|json)$")] = "json",
    ) -> Response:
        volume = await context.run(
            request, partial(_sent_cine, context, file) if file else _cine_loader(context, image), "read"
        )
        frames = volume.array.shape[3] if volume.array.ndim == 4 else 1
        if not 2 <= frames <= MAX_FRAMES:
            raise DataError(f"expected a cine of 2 to {MAX_FRAMES} frames, found {frames}")
        masks: list[npt.NDArray[np.uint8]] = []
        predict = partial(context.app.predictors.predict, context.app.predictors.networks[0])
        for index in range(frames):
            # A frame at a time, so that others get their turn in between.
            found = await context.run(request, partial(predict, volume.frame(index)), "frame")
            masks.append(found.mask)
            if await request.is_disconnected():
                raise HTTPException(499, "the one who asked is gone")

        def packed() -> Response:
            facts = _curve([structure_volumes_ml(mask, volume.spacing_mm) for mask in masks], volume.frame_s)
            facts |= {"warnings": image_warnings(volume)}
            content = b""
            if output == "all":
                cine = np.stack(masks, axis=3)
                content = _packed(context.uploads, lambda path: write_label(path, cine, volume.affine))
            return packed_answer(facts, "contours.nii.gz", content, output)

        return await context.run(request, packed, "contours")

    @router.get("/viewer/data/probability")
    async def probability(
        request: Request, structure: Structure, model: str, image: str = "", session_id: str = ""
    ) -> Response:
        if model not in context.app.predictors.networks:
            raise HTTPException(404, f"expected a model among {', '.join(context.app.predictors.networks)}")
        source = source_of(context, request, image, session_id)

        def packed() -> bytes:
            volume = read_volume(source)
            found = context.app.predictors.probabilities(model, volume)[LABELS[structure]]
            scaled = np.round(255 * found).astype(np.uint8)
            return _packed(context.uploads, lambda path: write_label(path, scaled, volume.affine))

        return _nifti(await context.run(request, packed, "probability"), f"probability_{structure}")

    @router.post("/viewer/data/volume")
    async def volume(request: Request, files: Annotated[list[UploadFile], File()]) -> Response:
        def converted() -> bytes:
            with received_volume(files, context.uploads) as path:
                return path.read_bytes()

        return _nifti(await context.run(request, converted, "volume"), "volume")

    @router.get("/viewer/data/report")
    async def report(
        request: Request,
        image: str,
        kind: Annotated[str, Query(alias="format", pattern=f"^({'|'.join(FORMATS)})$")],
    ) -> Response:
        served = context.datastore.image(image)
        images = _labelled(context, served)

        def made() -> bytes:
            return REPORTER.call(study_report, kind, served.patient, images, context.write_page)

        return Response(await context.run(request, made, f"report {kind}"), media_type=FORMATS[kind])

    @router.post("/viewer/data/xray")
    async def xray(
        request: Request,
        file: Annotated[UploadFile, File()],
        method: Annotated[Method, Query()] = "grad_cam",
    ) -> dict[str, Any]:
        if not xrays.is_ready:
            raise HTTPException(503, "this server has no weights of the chest X-ray bundle")

        def read() -> dict[str, Any]:
            with received(file, context.uploads, SUFFIXES) as path:
                return xrays.read(path, method)

        return await context.run(request, read, "xray")

    @router.get("/viewer/data/reading")
    def readings(film: Film) -> list[dict[str, Any]]:
        return films.history(film)

    @router.put("/viewer/data/reading")
    def save_reading(
        request: Request,
        film: Film,
        word: Annotated[Word, Form()],
        method: Annotated[Method, Form()],
        name: Annotated[str, Form(max_length=MAX_NAME)] = "",
        note: Annotated[str, Form(max_length=MAX_NOTE)] = "",
    ) -> dict[str, Any]:
        said = {"name": plain(name), "word": word, "note": plain(note), "method": method}
        return films.save(film, author_of(context, request, {}), said, xrays.found(film))

    @router.get("/viewer/{name:path}")
    def page(request: Request, name: str) -> Response:
        found = files.get(name)
        if found is None:
            raise HTTPException(404, "Not Found")
        headers = {**HEADERS, "ETag": found.etag}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, media_type=found.media_type, headers=headers)


def _measured(
    context: ServerContext,
    request: Request,
    served: ServedImage | None,
    mask: npt.NDArray[np.uint8],
    volume: Volume,
) -> dict[str, Any]:
    """What is measured on a label map of an image of the studies folder, or of another volume."""
    if served is None:
        return measure(mask, volume)
    caller = author_of(context, request, {})
    partner_ml = context.datastore.volumes_ml(served.partner, caller) if served.partner else None
    return measure(mask, volume, served.phase, partner_ml)


def _labelled(context: ServerContext, served: ServedImage) -> list[LabelledImage]:
    """An image and its other phase, as far as they have an accepted label that can be a heart."""
    labels = context.datastore.labels
    if not labels.can_teach(served.id):
        raise DataError("expected a saved label that can be a heart, found none; save it first")
    pair = [served, *([context.datastore.image(served.partner)] if served.partner else [])]
    root = context.datastore.root
    return [LabelledImage(one, labels.path(one.id), root) for one in pair if labels.can_teach(one.id)]


def _sent_volumes_ml(sent: Any) -> Mapping[AcdcLabel, float]:
    found: list[Any] = [None]
    if isinstance(sent, dict):
        found = [sent.get(LABEL_NAMES[label]) for label in FOREGROUND]
    if not all(type(one) in (int, float) and 0 <= one <= MAX_ML for one in found):
        raise DataError(f"expected the volumes of {', '.join(LABELS)} in mL at ED and at ES")
    return dict(zip(FOREGROUND, map(float, found), strict=True))


def _cine_loader(context: ServerContext, image_id: str) -> Callable[[], Volume]:
    source = context.datastore.image(image_id).cine
    if source is None:
        raise DataError("expected an image that is a frame of a cine, found one without")
    return lambda: load_image(source)


def _sent_cine(context: ServerContext, file: UploadFile) -> Volume:
    with received(file, context.uploads, NIFTI_SUFFIXES) as path:
        claimed_shape(path)
        return PARSER.call(read_volume, path)


def _curve(volumes_ml: list[Mapping[AcdcLabel, float]], frame_s: float | None) -> dict[str, Any]:
    """Volumes in mL by structure and frame, the frames of ED and ES, 1-based, and the indices."""
    index_ed, index_es = find_ed_es([one[AcdcLabel.LV] for one in volumes_ml])
    indices = indices_from_volumes(volumes_ml[index_ed], volumes_ml[index_es])
    return {
        "volumes_ml": {
            LABEL_NAMES[label]: [round(one[label], 2) for one in volumes_ml] for label in FOREGROUND
        },
        "frame_s": frame_s if frame_s and math.isfinite(frame_s) else None,
        "frame_ed": index_ed + 1,
        "frame_es": index_es + 1,
        "indices": rounded_indices(indices),
    }


def _packed(folder: Path, write: Callable[[Path], None]) -> bytes:
    """Content of a `.nii.gz` file that `write` makes."""
    path = folder / f"{uuid.uuid4()}.nii.gz"
    try:
        write(path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def _nifti(content: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}.nii.gz"'}
    return Response(content, media_type="application/octet-stream", headers=headers)
