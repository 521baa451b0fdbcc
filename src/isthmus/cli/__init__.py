"""The command line: a thin shell over the workbench and the catalogue.

Commands are named here and imported when they run. Exit codes: 0 done, 1 the work failed, was stopped or found
something wrong, 2 the input or the call cannot be used.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Group

from isthmus.core.errors import IsthmusError

__all__ = ["GROUPS", "app", "main"]

app = App(
    name="isthmus",
    help="The missing middle between encoders and vector databases.",
    version=lambda: version("isthmus"),
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

GROUPS = {
    "The loop": {
        "demo": ("isthmus.cli.demo:demo", "Run the whole loop below on real data, and write one page to look at."),
        "data": ("isthmus.cli.data:app", "Data sets that come with Isthmus or with a package."),
        "embed": (
            "isthmus.cli.embed:embed",
            "Encode a data set, a folder, a table or tar shards into a store; again, it goes on where it stopped.",
        ),
        "align": ("isthmus.cli.loop:align", "Fit one map a modality from the items of a store: a space."),
        "train": (
            "isthmus.cli.train:train",
            "Train a small dual encoder on data sets, or maps on a store; again, it goes on where it stopped.",
        ),
        "index": ("isthmus.cli.search:index", "Map the vectors of a store through a space and make them searchable."),
        "search": (
            "isthmus.cli.search:search",
            "Search an index with a text, a picture, a recording, or several of them.",
        ),
        "serve": (
            "isthmus.cli.serve:serve",
            "Serve indexes over HTTP, with a page to search them from.",
        ),
        "space": ("isthmus.cli.space:app", "The default space: build it, show how good it is."),
        "evaluate": (
            "isthmus.cli.loop:evaluate",
            "Measure retrieval between two modalities, both ways, with 95 % intervals.",
        ),
        "diagnose": (
            "isthmus.cli.loop:diagnose",
            "Report the health of a space: modality gap, alignment, hubs, effective rank.",
        ),
        "correct": (
            "isthmus.cli.correct:correct",
            "Take hubs out of a matrix of scores, with the scores of banks of training queries and training items.",
        ),
    },
    "The catalogue": {
        "methods": ("isthmus.cli.methods:methods", "List the methods of the catalogue."),
        "show": ("isthmus.cli.methods:show", "Show everything known about a method."),
        "toy": ("isthmus.cli.methods:toy", "Run the tiny instance of a method."),
        "run": (
            "isthmus.cli.methods:run",
            "Measure the claims of a method, and its controls; it goes on where it stopped.",
        ),
        "check": ("isthmus.cli.methods:check", "Check methods as a reviewer would; exit code 1 when one fails."),
        "table": ("isthmus.cli.methods:table", "Print every method with its headline claim and what was measured."),
        "new": ("isthmus.cli.methods:new", "Write the file of a new method and its test from a template."),
    },
    "This machine": {
        "status": (
            "isthmus.cli.status:status",
            "Tell what a store or an index holds: rows, parts, fingerprints, bytes, what was set aside.",
        ),
        "doctor": (
            "isthmus.cli.doctor:doctor",
            "Tell what works on this machine, what is missing, and what brings it.",
        ),
    },
}
"""Every command: where it is, and the first line of its docstring, for `isthmus --help` to import none of them."""

for place, (group, commands) in enumerate(GROUPS.items()):
    section = Group(group, sort_key=place)
    for order, (name, (target, line)) in enumerate(commands.items()):
        app.command(target, name=name, help=line, group=section, sort_key=order)
app["--help"].group = app["--version"].group = Group("Options", sort_key=len(GROUPS))


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that the output does not know is no reason to fail
            stream.reconfigure(errors="replace")
    try:
        code = app(argv if argv is not None else sys.argv[1:])
        sys.stdout.flush()
    except (IsthmusError, CycloptsError) as error:
        _fail(error, 2)
    except KeyboardInterrupt:
        _fail("stopped; what was written is whole, and the same command goes on from it", 1)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        sys.exit(0)
    except OSError as error:  # no permission, no space left: the machine's fault, and its words name the file
        _fail(error, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(reason: object, code: int) -> None:
    """Say in one line why nothing came of it."""
    sys.stderr.write(f"isthmus: {' '.join(str(reason).split())}\n")
    sys.exit(code)
