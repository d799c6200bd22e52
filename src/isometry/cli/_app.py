"""The table of commands; each lives in the module of its subject."""

import importlib.metadata

from cyclopts import App

from isometry.cli import _init, _models, _reproduce, _studies, _theory

app = App(
    name="isometry",
    help="How a residual network's input-output Jacobian stretches signals, and how to set it.",
    version=importlib.metadata.version("isometry"),
)
app.command(_theory.law)
app.command(_theory.cumulant)
app.command(_theory.sigma_w)
app.command(_theory.activations)
app.command(_models.diagnose)
app.command(_init.init)
app.command(_studies.demo)
app.command(_reproduce.reproduce)
results = App(name="results", help="What finished runs found.")
results.command(_reproduce.export)
app.command(results)
