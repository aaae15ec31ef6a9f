"""Training on the accepted labels, and scores of images."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from pipelines.server.context import ServerContext
from pipelines.server.fine_tuning import DEFAULT_BATCH, DEFAULT_EPOCHS, MOST_BATCH, MOST_EPOCHS
from pipelines.server.training_data import labelled_patients


class TrainingRequest(BaseModel):
    """All that a client may choose of a training; anything else is refused."""

    model_config = ConfigDict(extra="forbid")

    max_epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] = DEFAULT_EPOCHS
    batch_size: Annotated[int, Field(ge=1, le=MOST_BATCH)] = DEFAULT_BATCH
    client_id: str | None = None


def add_routes(router: APIRouter, context: ServerContext) -> None:
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
