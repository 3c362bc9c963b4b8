"""A part of the settings, and the kinds of number and name that its keys take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Name",
    "NonNegative",
    "Port",
    "Positive",
    "Section",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class Section(BaseModel):
    """A part of the settings: frozen, and a key that it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
