"""The bodies of requests, checked before anything is done with them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

__all__ = ["Deletion", "EmbeddingRequest", "Item", "Knn", "Message", "Part", "Rerank", "Search", "Upsert"]

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Content = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
Count = Annotated[int, Field(ge=1, strict=True)]
Vector = Annotated[list[FiniteFloat], Field(min_length=1, max_length=65536)]


class Strict(BaseModel):
    """A body with no field that we do not know: a misspelt one should not be passed over."""

    model_config = ConfigDict(extra="forbid")


class Part(Strict):
    """What is asked for: a text, a picture or a recording (data URI or base64), or a vector in the space."""

    text: Text | None = None
    image: Content | None = None
    sound: Content | None = None
    vector: Vector | None = None


class Search(Part):
    """A search: with one of the four, or with several at once, less what is not wanted."""

    minus: Annotated[list[Text | Part], Field(max_length=16)] = []
    k: Count | None = None
    modality: Name | Annotated[list[Name], Field(min_length=1, max_length=16)] | None = None
    where: Annotated[str, Field(min_length=1, max_length=20_000)] | None = None
    quota: Annotated[dict[Name, Count], Field(min_length=1, max_length=16)] | None = None
    corrected: bool = True
    exact: bool = False
    explain: bool = False


class Message(BaseModel):
    """A message of a conversation: a text, or parts as OpenAI and vLLM name them."""

    role: str = "user"
    content: Text | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=16)]


class EmbeddingRequest(BaseModel):
    """OpenAI's body of an embeddings request, with the `messages` that vLLM takes for pictures and recordings."""

    model: Name = "default"
    input: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=16)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None


class Rerank(BaseModel):
    """The body of a rerank request as Cohere and Jina have it; documents may be pictures or recordings too."""

    model: Name = "default"
    query: Text | Part
    documents: Annotated[list[Text | Part], Field(min_length=1)]
    top_n: Count | None = None
    return_documents: bool = False


class Item(Strict):
    """An item to write: what its encoder reads, or the `vector` that its encoder gave; `uri` is a link."""

    key: Name
    modality: Annotated[str, Field(min_length=1, max_length=100)]
    variant: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    text: Text | None = None
    image: Content | None = None
    sound: Content | None = None
    vector: Vector | None = None
    uri: Annotated[str, Field(max_length=4000, pattern=r"^https?://\S+$")] | None = None
    meta: Annotated[dict[Name, Annotated[str, Field(max_length=10_000)]], Field(max_length=100)] = {}


class Upsert(Strict):
    """Items to add, or to put in the place of those of the same key, modality and variant."""

    items: Annotated[list[Item], Field(min_length=1)]


class Deletion(Strict):
    """What to delete: items by their ids, or those that a filter fits."""

    ids: Annotated[list[Name], Field(min_length=1)] | None = None
    where: Annotated[str, Field(min_length=1, max_length=20_000)] | None = None


class Knn(BaseModel):
    """The body that clip-retrieval's client sends; what it says of safety and aesthetics is not known here."""

    text: Text | None = None
    image: Content | None = None
    image_url: Content | None = None
    embedding_input: Vector | None = None
    modality: Literal["image", "text"] = "image"
    num_images: Count = 40
    indice_name: Name = "default"
