"""Do the recording and autograd give the same spectrum? The models of docs/models.md and ten more.

Each model's Jacobian is written out in float64 by the tape and by autograd. Prints a table and
JSON: the largest difference of two singular values, over the largest.

    python benchmarks/bench_routes.py [--only NAME ...]
"""

import argparse
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from _common import machine, show
from isometry import nn as inn
from isometry._result import format_table
from table_models import COMMON, ROWS, SEQUENCE, Row, pixels, tokens

IMAGE: dict[str, Any] = {"image_size": 16, "patch_size": 4, **COMMON}
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, **COMMON}
TEXT = {
    **dict.fromkeys(("Mistral", "Qwen2", "Gemma", "Olmo"), GROUPED),
    **dict.fromkeys(("Phi", "GPTNeoX", "Roberta"), COMMON),
    "Electra": COMMON | {"embedding_size": COMMON["hidden_size"]},
}
MORE = {name: Row(tokens(f"{name}Model", name, **size), SEQUENCE) for name, size in TEXT.items()}
MORE |= {
    name: Row(pixels(f"{name}Model", name, **IMAGE), (1, 3, 16, 16)) for name in ("DeiT", "Dinov2")
}
MODELS: Mapping[str, Row] = {**ROWS, **MORE}


def measure(row: Row) -> dict[str, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = row.build().double(), torch.randn(row.shape).double()
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
