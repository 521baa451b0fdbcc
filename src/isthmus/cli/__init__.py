"""The command line: a thin shell over the workbench and the catalogue.

Commands are named here and imported when they run. Exit codes: 0 done, 1 the work failed, was stopped or found
something wrong, 2 the input or the call cannot be used.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from isthmus.core.errors import IsthmusError

__all__ = ["app", "main"]

app = App(
    name="isthmus",
    help="The missing middle between encoders and vector databases.",
    version=lambda: version("isthmus"),
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)

GROUPS = {
    "The loop": {
        "demo": "isthmus.cli.demo:demo",
        "data": "isthmus.cli.data:app",
        "embed": "isthmus.cli.loop:embed",
        "align": "isthmus.cli.loop:align",
        "index": "isthmus.cli.loop:index",
        "search": "isthmus.cli.loop:search",
        "evaluate": "isthmus.cli.loop:evaluate",
        "diagnose": "isthmus.cli.loop:diagnose",
    },
    "The catalogue": {
        "methods": "isthmus.cli.methods:methods",
        "show": "isthmus.cli.methods:show",
        "toy": "isthmus.cli.methods:toy",
        "run": "isthmus.cli.methods:run",
        "check": "isthmus.cli.methods:check",
        "table": "isthmus.cli.methods:table",
        "new": "isthmus.cli.methods:new",
    },
    "This machine": {
        "doctor": "isthmus.cli.doctor:doctor",
    },
}
for group, commands in GROUPS.items():
    for name, target in commands.items():
        app.command(target, name=name, group=group)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    try:
        code = app(argv if argv is not None else sys.argv[1:])
    except (IsthmusError, CycloptsError) as error:
        sys.stderr.write(f"isthmus: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("isthmus: stopped; what was finished is kept, and the same command goes on from there\n")
        sys.exit(1)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
