"""Do the recording and autograd give the same spectrum? The models of docs/models.md.

Each model's Jacobian is written out in float64 by the tape and by autograd. Prints a table and
JSON: the largest difference of two singular values, over the largest.

    python benchmarks/bench_routes.py [--only NAME ...]
"""

import argparse
import sys
import warnings
from typing import Any

import numpy as np

from _common import machine, show
from _models import MODELS, Row
from isometry import nn as inn
from isometry._result import format_table


def measure(row: Row) -> dict[str, Any]:
    model, x = (part.double() for part in row.built())
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for route in ("tape", "autograd"):
            f = model.forward if hasattr(model, "jacobian") else model  # by products too
            J = inn.JacobianOperator(f, x, batch_norm=row.batch_norm, route=route)
            found[route] = inn.singular_spectrum(J, "dense").singular_values()
    gap = np.abs(found["tape"] - found["autograd"]).max() / found["autograd"].max()
    return {"N": len(found["tape"]), "largest difference, over s_max": float(f"{gap:.2g}")}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of models")
    wish = parser.parse_args(arguments)
    names = wish.only or list(MODELS)
    rows = [{"model": name} | measure(MODELS[name]) for name in names]
    print(format_table(rows), file=sys.stderr)
    show({"benchmark": "routes", "machine": machine(), "models": rows})


if __name__ == "__main__":
    main()
