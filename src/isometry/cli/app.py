"""The table of commands; each lives in the module of its subject."""

from cyclopts import App

from isometry.cli import init, models, reproduce, studies, theory
from isometry_command import SUMMARY, __version__

app = App(
    name="isometry",
    help=SUMMARY,
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
