"""The table of commands; each lives in the module of its subject."""

from cyclopts import App

from isometry import __version__
from isometry.cli import init, models, reproduce, studies, theory

app = App(
    name="isometry",
    help="How a residual network's input-output Jacobian stretches signals, and how to set it.",
    version=__version__,
)
app.command(theory.law)
app.command(theory.cumulant)
app.command(theory.sigma_w)
app.command(theory.activations)
app.command(models.diagnose)
app.command(init.init)
app.command(studies.demo)
app.command(reproduce.reproduce)
results = App(name="results", help="What finished runs found.")
results.command(reproduce.export)
app.command(results)
