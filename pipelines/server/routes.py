"""The app, inference, the next case, and sessions."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, File, Form, HTTPException, Query, Request, Response, UploadFile
from urllib3.filepost import encode_multipart_formdata

from pipelines.server.context import ServerContext, author_of, base_of, caller_of
from pipelines.server.requests import client_name, json_object, received, result_suffix
from pipelines.server.sent_images import received_volume
from pipelines.server.sent_interaction import sent_interaction
from pipelines.server.sessions import Session


def add_routes(router: APIRouter, context: ServerContext) -> None:
    """Add `/info/`, `/infer/`, `/activelearning/` and `/session/`."""

    @router.get("/info/")
    def info() -> dict[str, Any]:
        found: dict[str, Any] = context.app.info()
        return found

    @router.post("/infer/{model}")
    async def infer(
        request: Request,
        model: str,
        image: str = "",
        session_id: str = "",
        params: Annotated[str, Form()] = "{}",
        label: Annotated[UploadFile | None, File()] = None,
        output: Annotated[str, Query(pattern="^(all|image|json)$")] = "all",
    ) -> Response:
        tasks = context.app.info()["models"]
        if model not in tasks:
            raise HTTPException(404, f"expected a model among {', '.join(tasks)}")
        sent = json_object(params)
        base = base_of(sent)
        wanted = {
            "model": model,
            "result_extension": result_suffix(sent),
            "caller": author_of(context, request, sent),
            "interaction": sent_interaction(tasks[model]["type"], sent),
            "base_version": base,
        }
        if session_id:
            wanted["image"] = str(session_of(context, request, session_id).image)
        else:
            wanted["image"] = str(context.datastore.image(image).path)

        def run() -> Response:
            if not session_id:
                context.datastore.labels.check_newest(image, base)
            with received(label, context.uploads) if label else nullcontext() as mask:
                answer = context.app.infer(wanted | {"mask": mask and str(mask)})
            file = Path(answer["file"])
            try:
                content = file.read_bytes()
            finally:
                file.unlink(missing_ok=True)
            return packed_answer(answer["params"], f"{model}{wanted['result_extension']}", content, output)

        return await context.run(request, run, model)

    @router.post("/activelearning/{strategy}")
    def next_sample(
        request: Request, strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None
    ) -> dict[str, Any]:
        if strategy not in context.app.info()["strategies"]:
            raise HTTPException(404, "expected a strategy that /info/ lists")
        chosen = context.app.next_sample({"strategy": strategy})
        if not chosen:
            return {}
        image_id: str = chosen["id"]
        who = client_name(params or {}) or caller_of(request).name
        offered = {strategy: {"ts": int(time.time()), "client_id": who}}
        context.datastore.update_image_info(image_id, {"strategy": offered})
        context.access.grant(request, image_id)
        # A path serves a client on this machine only, and tells others what is none of their business.
        told = {key: value for key, value in chosen.items() if key != "path" or context.access.users is None}
        return told | context.datastore.get_image_info(image_id)

    @router.put("/session/")
    async def begin_session(
        request: Request,
        files: Annotated[list[UploadFile], File()],
        uncompress: bool = False,
        expiry: Annotated[int, Query(ge=0)] = 0,
    ) -> dict[str, Any]:
        if uncompress:
            raise HTTPException(
                400, "expected a volume or the files of a DICOM series, archives are not taken"
            )

        def keep() -> Session:
            with received_volume(files, context.uploads) as file:
                return context.sessions.add(file, caller_of(request).name, expiry)

        session = await context.run(request, keep, "session")
        return {"session_id": session.id, "session_info": session.as_json()}

    @router.get("/session/{session_id}")
    def get_session(request: Request, session_id: str) -> dict[str, Any]:
        return session_of(context, request, session_id).as_json()

    @router.delete("/session/{session_id}")
    def end_session(request: Request, session_id: str) -> dict[str, Any]:
        session = session_of(context, request, session_id)
        context.sessions.remove(session)
        return session.as_json()


def session_of(context: ServerContext, request: Request, session_id: str) -> Session:
    """A session of the caller.

    Raises:
        HTTPException: 404 if there is none, or it has ended.
    """
    session = context.sessions.get(session_id, caller_of(request).name)
    if session is None:
        raise HTTPException(404, "expected a session of yours that has not ended")
    return session


def packed_answer(params: dict[str, Any], name: str, content: bytes, output: str = "all") -> Response:
    """Measures and label map in the form that clients of MONAI Label read."""
    told = json.dumps(params)
    if output == "json":
        return Response(told, media_type="application/json")
    if output == "image":
        return Response(content, media_type="application/octet-stream")
    body, media_type = encode_multipart_formdata(
        {
            "params": (None, told, "application/json"),
            "image": (name, content, "application/octet-stream"),
        }
    )
    return Response(body, media_type=media_type)
