"""The table of commands; each lives in the module of its subject."""

import inspect
from collections.abc import Sequence

from cyclopts import App, Parameter

from isometry.cli import (
    compare,
    init,
    lint,
    mcp,
    models,
    reproduce,
    scale,
    schema,
    stream,
    studies,
    theory,
    watch,
    web,
)
from isometry.cli.usage import exact
from isometry_command import STATUS, SUMMARY, __version__

app = App(
    name="isometry",
    help=SUMMARY,
    version=__version__,
    default_parameter=Parameter(converter=exact),
    help_epilogue=STATUS,
    suppress_keyboard_interrupt=False,  # `guarded` says what becomes of it
)
app.command(lint.lint)
app.command(theory.law)
app.command(theory.cumulant)
app.command(theory.sigma_w)
app.command(theory.activations)
app.command(models.diagnose)
app.command(init.init)
app.command(stream.stream)
app.command(scale.scale)
app.command(studies.demo)
app.command(reproduce.reproduce)
app.command(web.web)
app.command(compare.compare_activations)
app.command(schema.schema)
app.command(mcp.mcp)
app.command(watch.watch)
app.register_install_completion_command()
results = App(name="results", help="What finished runs found.")
results.command(reproduce.export)
app.command(results)


_INNER = {
    "activation": "name",
    "address": "scheduler",
    "f": "model",
    "golden": "against",
    "kappa": "condition_number",
    "kind": "executor",
    "name": "data",
    "root": "out",
    "spec": "name",
    "x": "input",
}
"""Arguments of inner functions, and the parameters of commands that become them."""


def options(words: Sequence[str]) -> dict[str, str]:
    """Return what messages of a command call its arguments: the options' names by Python's."""
    command = app.parse_commands(words)[1][-1].default_command
    if command is None:
        return {}
    names = {
        name: name.upper()
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        else f"--{name.replace('_', '-')}"
        for name, parameter in inspect.signature(command).parameters.items()
    }
    return {inner: names[outer] for inner, outer in _INNER.items() if outer in names} | names
