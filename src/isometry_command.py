"""Where the ``isometry`` command starts: its version and its overview need nothing loaded.

The package takes a tenth of a second, its command-line library half as long. Whoever asks which
version is installed, or what commands there are, does not wait for them.
"""

import importlib
import sys

__version__ = "0.1.0"

SUMMARY = "How a residual network's input-output Jacobian stretches signals, and how to set it."
STATUS = (
    "Exit status: 0 fine, 1 a check failed, 2 wrong use or missing data, 3 the model failed. "
    "`--debug` prints the traceback of an error."
)
COMMANDS = {
    "lint": "Say whether a model's initialisation landed: what contradicts itself, and the remedy.",
    "activations": "List the named activations with their parameters and kinks.",
    "compare-activations": (
        "Train one network with every activation, at every rung of the ladder of initialisations."
    ),
    "cumulant": "Print c of a residual network, from its activation and its initialisation.",
    "demo": "Measure real networks on a real image and show that one law fits every activation.",
    "diagnose": "Measure a model's Jacobian spectrum and compare it with what its blocks predict.",
    "init": "Initialise a model at an effective cumulant c; print the plan, save the weights.",
    "law": "Print the universal law: edges, moments and quantiles of the singular values.",
    "mcp": (
        "Serve lint, diagnose, init and the theory as tools of the Model Context Protocol (stdio)."
    ),
    "reproduce": "Re-measure the paper's claims: run what is missing, then write the page.",
    "results": "What finished runs found.",
    "scale": (
        "Measure c, gains and stream growth of every block, on one process or under torchrun."
    ),
    "schema": "Print the JSON schemas of all results, or of one; always JSON.",
    "sigma-w": "Print the sigma_w that gives a chosen c (1 unless said) or condition number.",
    "stream": (
        "Measure c, growth and initialisation of a model of any size, "
        "one layer in memory at a time."
    ),
    "watch": "Show what running monitors have measured, as it comes; stop with Ctrl-C.",
    "web": "Explore c, the law and a measured spectrum on a page in the browser.",
}


def overview() -> str:
    """Return what ``isometry --help`` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name.ljust(width)}{said}" for name, said in COMMANDS.items()]
    first = "Begin with your own model: `isometry lint my_module:make_model --input x.pt`."
    ask = "Run `isometry COMMAND --help` for a command's options, `isometry --version` for mine."
    return "\n".join(
        ["Usage: isometry COMMAND", "", SUMMARY, "", *lines, "", first, ask, "", STATUS, ""]
    )


def main() -> None:
    """Answer what needs nothing, or load the package and run the command."""
    words = sys.argv[1:]
    if words == ["--version"]:
        sys.stdout.write(f"{__version__}\n")
    elif words in ([], ["--help"], ["-h"]):
        sys.stdout.write(overview())
    else:
        importlib.import_module("isometry.cli").main()


if __name__ == "__main__":
    main()
