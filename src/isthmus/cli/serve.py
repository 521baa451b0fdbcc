"""`isthmus serve`."""

from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.core.errors import MissingExtra

__all__ = ["serve"]

Repeated = Parameter(negative="")
Switch = Parameter(negative="")


def serve(
    indexes: list[str],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key_file: str | None = None,
    workers: int = 1,
    store: Annotated[list[str] | None, Repeated] = None,
    read_only: Annotated[bool, Switch] = False,
    allow_host: Annotated[list[str] | None, Repeated] = None,
    allow_origin: Annotated[list[str] | None, Repeated] = None,
    device: str = "cpu",
) -> None:
    """Serve indexes over HTTP, with a page to search them from.

    The page is at the address that is printed; programs find /v1/embeddings, /v1/rerank,
    /v1/collections/NAME/search, /knn-service, and the rest in /openapi.json.

    Args:
        indexes: Folders of indexes or spaces, each called as its folder or as in NAME=FOLDER; the first is default too.
        host: Address to listen at; one that others can reach needs a key file.
        port: Port to listen at.
        key_file: File of keys, one a line; requests then need "Authorization: Bearer KEY".
        workers: Processes that answer.
        store: The store that an index was made of, NAME=FOLDER, for pictures and recordings of a folder; repeat.
        read_only: Refuse to write.
        allow_host: A name that the server is called by beside its address; repeat for more.
        allow_origin: A site whose pages may call the server, such as https://example.org; repeat for more.
        device: Where encoders run: cpu, cuda, cuda:1, mps.
    """
    try:
        from isthmus.web.serve import serve as run
    except ModuleNotFoundError as error:
        raise MissingExtra.of(str(error.name), "serve", "the server") from error
    from isthmus.web.settings import Settings, named_folders

    folders = named_folders(indexes)
    settings = Settings(
        folders=folders,
        stores=console.assignments("--store", store or []),
        host=host,
        port=port,
        key_file=key_file,
        read_only=read_only,
        origins=tuple(allow_origin or ()),
        hosts=tuple(allow_host or ()),
        device=device,
    )
    names = ", ".join(folders)
    run(settings, workers=workers, announce=lambda at: console.note(f"serving {names} at {at} (stop with Ctrl-C)"))
