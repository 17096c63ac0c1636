"""What a message says, in parts: texts with their annotations, images, refusals."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from threadkeep import references
from threadkeep.errors import BadRequestError

TEXT_CHARACTERS_MAX = 256_000
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".gif", ".webp")

TextValue: TypeAlias = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX)]
Detail: TypeAlias = Literal["auto", "low", "high"]


class ImageFile(Struct, kw_only=True):
    """An uploaded image."""

    file_id: str
    detail: Detail | None = "auto"


class ImageUrl(Struct, kw_only=True):
    """An image somewhere else; it is not fetched."""

    url: Annotated[str, Meta(min_length=1)]
    detail: Detail | None = "auto"


class TextParam(Struct, tag_field="type", tag="text"):
    """A text part of a request: a plain string."""

    text: TextValue


class ImageFilePart(Struct, tag_field="type", tag="image_file"):
    """An image file, the same in requests and answers."""

    image_file: ImageFile


class ImageUrlPart(Struct, tag_field="type", tag="image_url"):
    """An image address, the same in requests and answers."""

    image_url: ImageUrl


class FileCitation(Struct):
    """The file an annotation cites."""

    file_id: str


class FileCitationAnnotation(Struct, tag_field="type", tag="file_citation"):
    """A marker in the text that stands for a passage of a file. Indexes count characters, the end exclusive."""

    text: str
    start_index: int
    end_index: int
    file_citation: FileCitation


class FilePath(Struct):
    """The file an annotation points to."""

    file_id: str


class FilePathAnnotation(Struct, tag_field="type", tag="file_path"):
    """A path in the text that stands for a file the code interpreter made."""

    text: str
    start_index: int
    end_index: int
    file_path: FilePath


class Text(Struct):
    """A text with its annotations."""

    value: str
    annotations: list[FileCitationAnnotation | FilePathAnnotation] = []


class TextPart(Struct, tag_field="type", tag="text"):
    """A text part of an answer."""

    text: Text


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    """What the model said instead of an answer."""

    refusal: str


Part: TypeAlias = TextPart | ImageFilePart | ImageUrlPart | RefusalPart
PartParam: TypeAlias = TextParam | ImageFilePart | ImageUrlPart
# What a request says a message says.
Content: TypeAlias = TextValue | Annotated[list[PartParam], Meta(min_length=1)]


def of_request(content: str | list[PartParam], at: str, *, strict: bool) -> list[Part]:
    """The parts that a request describes. `at` is where its content stands in the body. Raises `BadRequestError`."""
    if isinstance(content, str):
        if not content:
            raise BadRequestError("Message content must be non-empty.", param=f"{at}content")
        return [TextPart(Text(content))]
    parts: list[Part] = []
    for index, part in enumerate(content):
        where = f"{at}content[{index}]"
        match part:
            case TextParam(text=text):
                if not text:
                    raise BadRequestError("Message content must be non-empty.", param=f"{where}.text")
                parts.append(TextPart(Text(text)))
            case ImageFilePart(image_file=image):
                references.check_file(f"{where}.image_file.file_id", image.file_id)
                image.detail = image.detail or "auto"
                parts.append(part)
            case ImageUrlPart(image_url=image):
                image.detail = image.detail or "auto"
                if strict:
                    _check_image_url(f"{where}.image_url.url", image.url)
                parts.append(part)
    return parts


def _check_image_url(param: str, url: str) -> None:
    # Differs from OpenAI: addresses are not checked outside `--strict`; many image addresses end in no suffix at all.
    if not url.startswith("data:") and not urlsplit(url).path.lower().endswith(IMAGE_SUFFIXES):
        raise BadRequestError(
            f"Invalid '{param}'. Expected url to end in a supported format: {', '.join(IMAGE_SUFFIXES)}.",
            param=param,
            code="invalid_value",
        )
