"""Routes of MONAI Label's protocol: the app, inference, images and labels, login, training."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from urllib3.filepost import encode_multipart_formdata

from pipelines.core.files import plain
from pipelines.server.access import Access, Caller
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.gate import peer
from pipelines.server.history import FINAL
from pipelines.server.learning import (
    DEFAULT_BATCH,
    DEFAULT_EPOCHS,
    MAX_BATCH,
    MAX_EPOCHS,
    labelled_patients,
)
from pipelines.server.reports import PageWriter
from pipelines.server.requests import ID_PATTERN, client_name, json_object, received, result_suffix
from pipelines.server.sent_interaction import sent_interaction
from pipelines.server.sessions import Session, Sessions, received_volume
from pipelines.server.users import ROLE_NAMES, Role, TooManyTriesError
from pipelines.server.work_queue import WorkQueue

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the routes of the server share.

    Attributes:
        app: An instance of `CardiacApp`.
        access: Who may do what.
        queue: Where inferences wait.
        logins: Where passwords wait, since each takes 64 MB to look at.
        sessions: Volumes that clients sent for a while.
        uploads: Existing folder for files while they are looked at.
        write_page: Writes the page of a study, or None where a server has none.
    """

    app: Any
    access: Access
    queue: WorkQueue
    logins: WorkQueue
    sessions: Sessions
    uploads: Path
    write_page: PageWriter | None = None

    async def run(self, request: Request, function: Callable[[], Result], kind: str) -> Result:
        """Result of a function, in the queue of inferences.

        Args:
            request: Whose work it is.
            function: The work.
            kind: What work it is; see `WorkQueue.run`.

        Raises:
            BusyError: If too many wait already.
        """
        owner = caller_of(request).name if self.access.users else ""
        return await self.queue.run(function, owner=owner, kind=kind)

    @property
    def datastore(self) -> StudiesDatastore:
        """The studies folder."""
        store: StudiesDatastore = self.app.datastore()
        return store


def caller_of(request: Request) -> Caller:
    """Who sent a request, as `Access` noted it."""
    caller: Caller = request.state.caller
    return caller


def author_of(context: ServerContext, request: Request, params: dict[str, Any]) -> str:
    """Who works on a contour: the user, or the name that a client gives itself where there is no login."""
    caller = caller_of(request)
    # Without login there is only one user, and the name that Slicer knows tells more.
    return caller.name if context.access.users else client_name(params) or caller.name


def base_of(params: dict[str, Any]) -> int | None:
    """Number of the label version that a client begins with, 0 for none; None if it knows no versions.

    Raises:
        HTTPException: 400 if `base_version` is no number of a version.
    """
    found = params.get("base_version")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 0):
        raise HTTPException(400, "expected base_version as the number of a version, 0 for none")
    return found


def add_inference_routes(router: APIRouter, context: ServerContext) -> None:
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
            default, known = next(iter(tasks)), ", ".join(tasks)
            raise HTTPException(
                404, f"expected a model among {known}, found {model}; {default} is the default"
            )
        sent = json_object(params)
        base = base_of(sent)
        wanted = {
            "model": model,
            "result_extension": result_suffix(sent),
            "caller": author_of(context, request, sent),
            "interaction": sent_interaction(tasks[model]["type"], sent),
            "base_version": base,
            "image": str(source_of(context, request, image, session_id)),
        }

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
        shown = {key: value for key, value in chosen.items() if key != "path" or context.access.users is None}
        return shown | context.datastore.get_image_info(image_id)

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


def source_of(context: ServerContext, request: Request, image_id: str, session_id: str) -> Path:
    """File of a session of the caller, or without one of an image of the studies folder."""
    if session_id:
        return session_of(context, request, session_id).image
    return context.datastore.image(image_id).path


def packed_answer(params: dict[str, Any], name: str, content: bytes, output: str = "all") -> Response:
    """Measures and label map in the form that clients of MONAI Label read."""
    shown = json.dumps(params)
    if output == "json":
        return Response(shown, media_type="application/json")
    if output == "image":
        return Response(content, media_type="application/octet-stream")
    body, media_type = encode_multipart_formdata(
        {"params": (None, shown, "application/json"), "image": (name, content, "application/octet-stream")}
    )
    return Response(body, media_type=media_type)


Tag = Annotated[str, Query(pattern="^(final|original)$")]


def add_datastore_routes(router: APIRouter, context: ServerContext) -> None:
    """Add the routes below `/datastore/`."""
    store = context.datastore

    @router.get("/datastore/")
    def datastore(output: Annotated[str, Query(pattern="^(all|stats)$")] = "stats") -> dict[str, Any]:
        return store.json() if output == "all" else store.status()

    @router.api_route("/datastore/image", methods=["GET", "HEAD"])
    def image(image: str) -> FileResponse:
        found = store.image(image)
        name = plain(found.path.name)
        return FileResponse(found.path, media_type="application/octet-stream", filename=name)

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
                return {"image": store.add_image(image, path)}

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


def add_login_routes(router: APIRouter, context: ServerContext) -> None:
    """Add the routes below `/auth/`."""
    access = context.access

    @router.get("/auth/")
    def is_login_needed() -> dict[str, Any]:
        return {"enabled": access.users is not None}

    @router.post("/auth/token")
    async def log_in(
        request: Request,
        username: Annotated[str, Form(max_length=256)],
        password: Annotated[str, Form(max_length=4096)],
    ) -> dict[str, str | None]:
        if access.users is None:
            return {"access_token": None, "token_type": None}
        # A password in the place of the name must not get into a log.
        request.state.tried = username if access.users.role(username) else "unknown name"
        try:
            address = peer(request)
            access.users.check_tries(username, address)  # before one waits, so that a flood takes no room
            check = partial(access.users.is_right, username, password, address)
            is_right = await context.logins.run(check, owner=address or "unknown")
        except TooManyTriesError as error:
            wait = {"Retry-After": str(error.retry_after_s)}
            raise HTTPException(429, "too many wrong passwords, wait", wait) from error
        if not is_right:
            raise HTTPException(401, "expected a user name and its password", {"WWW-Authenticate": "Bearer"})
        return {
            "access_token": access.tokens.issue(username, access.users.mark(username)),
            "token_type": "bearer",
        }

    @router.get("/auth/token/valid")
    def who_am_i(request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        return {
            "username": caller.name,
            "roles": [ROLE_NAMES[role] for role in Role if role <= caller.role],
        }

    @router.post("/auth/logout")
    def log_out(request: Request) -> dict[str, Any]:
        access.tokens.end(caller_of(request).token)
        return {}


class TrainingRequest(BaseModel):
    """All that a client may choose of a training; anything else is refused."""

    model_config = ConfigDict(extra="forbid")

    max_epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = DEFAULT_EPOCHS
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = DEFAULT_BATCH
    client_id: str | None = None


def add_training_routes(router: APIRouter, context: ServerContext) -> None:
    """Add `/train/` and `/scoring/`."""
    trainings, scorings = context.app.trainings, context.app.scorings

    def begin(model: str, sent: TrainingRequest | None) -> dict[str, Any]:
        if model not in trainings.networks:
            raise HTTPException(404, f"expected a trainer among {', '.join(trainings.networks)}")
        # Refused here already, where the one who asks is told.
        labelled_patients(context.datastore.images.all(), context.datastore.labels)
        wanted = sent or TrainingRequest()
        task: dict[str, Any] | None = trainings.start(
            model, epochs=wanted.max_epochs, batch_size=wanted.batch_size
        )
        if task is None:
            raise HTTPException(409, "a training is running; wait for its end or stop it")
        return task

    @router.post("/train/")
    def train(sent: Annotated[TrainingRequest | None, Body()] = None) -> dict[str, Any]:
        return begin(trainings.networks[0], sent)

    @router.post("/train/{model}")
    def train_model(model: str, sent: Annotated[TrainingRequest | None, Body()] = None) -> dict[str, Any]:
        return begin(model, sent)

    @router.get("/train/")
    def training_status(check_if_running: bool = False) -> dict[str, Any]:
        return _known(trainings, "training", check_if_running=check_if_running)

    @router.delete("/train/")
    def stop_training() -> dict[str, Any]:
        trainings.stop()
        return _known(trainings, "training")

    @router.post("/scoring/{method}")
    def score(method: str) -> dict[str, Any]:
        methods = context.app._scoring_methods
        if method not in methods:
            raise HTTPException(404, f"expected a method among {', '.join(methods)}")
        task: dict[str, Any] | None = scorings.start(method, methods[method], context.datastore)
        if task is None:
            raise HTTPException(409, "a scoring is running; wait for its end or stop it")
        return task

    @router.get("/scoring/")
    def scoring_status(check_if_running: bool = False) -> dict[str, Any]:
        return _known(scorings, "scoring", check_if_running=check_if_running)

    @router.delete("/scoring/")
    def stop_scoring() -> dict[str, Any]:
        scorings.stop()
        return _known(scorings, "scoring")


def _known(jobs: Any, what: str, *, check_if_running: bool = False) -> dict[str, Any]:
    """The latest job.

    Raises:
        HTTPException: 404 if there was none, or none runs and `check_if_running` asks for one.
    """
    task: dict[str, Any] | None = jobs.status()
    if task is None or (check_if_running and not jobs.is_running):
        raise HTTPException(404, f"no {what} {'runs' if check_if_running else 'was started'}")
    return task
