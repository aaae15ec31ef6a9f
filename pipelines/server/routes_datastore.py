"""Images and labels of the studies folder."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse

from pipelines.server.context import ServerContext, author_of, base_of
from pipelines.server.history import FINAL
from pipelines.server.requests import ID_PATTERN, json_object, received
from pipelines.server.sent_images import received_volume

Tag = Annotated[str, Query(pattern="^(final|original)$")]


def add_routes(router: APIRouter, context: ServerContext) -> None:
    """Add the routes below `/datastore/`."""
    store = context.datastore

    @router.get("/datastore/")
    def datastore(output: Annotated[str, Query(pattern="^(all|stats)$")] = "stats") -> dict[str, Any]:
        return store.json() if output == "all" else store.status()

    @router.api_route("/datastore/image", methods=["GET", "HEAD"])
    def image(image: str) -> FileResponse:
        found = store.image(image)
        return FileResponse(found.path, media_type="application/octet-stream", filename=found.path.name)

    @router.get("/datastore/image/info")
    def image_info(image: str) -> dict[str, Any]:
        return store.get_image_info(store.image(image).id)

    @router.put("/datastore/")
    @router.put("/datastore/image")
    async def add_image(request: Request, image: str, file: Annotated[UploadFile, File()]) -> dict[str, Any]:
        if not ID_PATTERN.fullmatch(image):
            raise HTTPException(400, "expected an image name of letters, digits, '.', '_' and '-'")

        def add() -> dict[str, Any]:
            with received_volume([file], context.uploads) as path:
                return {"image": store.add_image(image, str(path), {})}

        return await context.run(request, add, "image")

    @router.api_route("/datastore/label", methods=["GET", "HEAD"])
    def label(label: str, tag: Tag) -> FileResponse:
        path = store.get_label_uri(store.image(label).id, tag)
        if not path:
            raise HTTPException(404, "expected a label that was saved")
        return FileResponse(path, media_type="application/octet-stream", filename=f"{label}.nii.gz")

    @router.get("/datastore/label/info")
    def label_info(label: str, tag: Tag) -> dict[str, Any]:
        return store.get_label_info(store.image(label).id, tag)

    @router.get("/datastore/label/history")
    def label_history(label: str) -> list[dict[str, Any]]:
        return store.labels.history(store.image(label).id)

    @router.put("/datastore/label")
    async def save_label(
        request: Request,
        image: str,
        label: Annotated[UploadFile, File()],
        params: Annotated[str, Form()] = "{}",
        tag: str = FINAL,
    ) -> dict[str, Any]:
        sent = json_object(params)
        known = {"user": author_of(context, request, sent), "base_version": base_of(sent)}

        def save() -> dict[str, Any]:
            with received(label, context.uploads) as path:
                record = store.accept(image, path, tag, sent | known)
            return {"image": image, "label": image, "history": asdict(record)}

        return await context.run(request, save, "label")
