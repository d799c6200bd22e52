"""The ``isometry`` command.  Theory commands never import torch."""

import sys
from collections.abc import Sequence

from isometry.cli.extras import with_advice
from isometry.cli.output import complain, guarded


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 wrong input or missing data, 130 interrupted."""
    try:
        import cyclopts
    except ImportError:
        complain("error", "the command line needs cyclopts; run `pip install 'isometry[cli]'`.")
        sys.exit(2)
    from isometry.cli.app import app

    words = list(sys.argv[1:] if arguments is None else arguments)

    def run() -> None:
        try:
            app(words, exit_on_error=False, print_error=False, result_action="return_value")
        except cyclopts.CycloptsError as error:
            raise ValueError(f"{error} Run `isometry --help` for what is expected.") from None
        except ModuleNotFoundError as error:
            raise with_advice(error) from None

    sys.exit(guarded(run))
