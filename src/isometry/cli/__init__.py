"""The ``isometry`` command.  Theory commands never import torch."""

import sys
from collections.abc import Sequence

from isometry.cli.extras import with_advice
from isometry.cli.output import complain, guarded


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status.

    The status is 0 where all is well, 1 where a check failed, 2 for wrong use or missing data, 3
    where the user's own model failed, 70 for a defect of isometry and 130 if interrupted.
    ``--debug``, anywhere, prints the traceback of an error.
    """
    try:
        import cyclopts
    except ImportError:
        complain("error", "the command line needs cyclopts; run `pip install 'isometry[cli]'`.")
        sys.exit(2)
    from isometry.cli.app import app, options
    from isometry.cli.origin import remember
    from isometry.cli.usage import sentence

    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != "--debug"]
    remember(words)

    def run() -> object:
        try:
            return app(words, exit_on_error=False, print_error=False, result_action="return_value")
        except cyclopts.CycloptsError as error:
            raise ValueError(sentence(error)) from None
        except ModuleNotFoundError as error:
            raise with_advice(error) from None

    sys.exit(guarded(run, options=options(words), debug=len(words) < len(given)))
