"""Models: what the configured model servers can be asked for. They belong to no project."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from threadkeep.context import Context
from threadkeep.errors import NotFoundError


class Model(Struct, kw_only=True):
    """A model, as it is sent."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(Struct, kw_only=True):
    """All models at once: this list has no pages."""

    object: Literal["list"] = "list"
    data: list[Model]


async def list_(ctx: Context) -> ModelList:
    """Every model that an assistant or a run can name."""
    listed = await ctx.upstreams.models()
    return ModelList(data=[Model(id=model.id, created=model.created, owned_by=model.owned_by) for model in listed])


async def retrieve(ctx: Context, model: str) -> Model:
    """One model. Its name may contain slashes and colons."""
    for known in (await list_(ctx)).data:
        if known.id == model:
            return known
    raise NotFoundError(f"The model '{model}' does not exist", param="model", code="model_not_found")
