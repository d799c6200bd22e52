"""One study a module, found by being here: its runs, and what they found."""

import importlib
import pkgutil

from isometry.experiments.parts.study import Study, registered

__all__ = ["all_studies"]


def all_studies() -> list[Study]:
    """Return every study of this folder, in the order of the page."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return registered()
