"""Compare models with their rotated twins: `python benchmarks/table_twins.py [MODEL ...]`.

The models are those of `_models.py`, of the same seeds. Printed are the distance of the
trunk's spectrum to that of one twin, and the largest singular value of eight over the model's.
"""

import argparse

import numpy as np
import torch

from _models import MODELS
from isometry._result import format_table
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.diagnosis.twin import twin_of
from isometry.nn.spectrum.spectrum import singular_spectrum

NAMES = (
    "GPT-2",
    "Llama",
    "ViT",
    "T5 encoder",
    "MLP-Mixer",
    "torch encoder, pre-norm, redrawn",
    "attention only, 16 tokens",
    "torch encoder, pre-norm",
    "torch encoder, post-norm",
    "one tanh block used 24 times",
    "the paper's network, ReLU",
)
ROTATIONS = 8


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of the two distribution functions."""
    points = np.concatenate([one, other])
    levels = [np.searchsorted(np.sort(v), points, side="right") / len(v) for v in (one, other)]
    return float(np.abs(levels[0] - levels[1]).max())


def table_row(name: str) -> dict[str, object]:
    row = MODELS[name]
    model, x = row.built()
    stream = residual_stream(model, x, batch_norm=row.batch_norm)
    own = singular_spectrum(SegmentOperator(stream.trunk), "dense").values
    twins = [
        singular_spectrum(
            twin_of(stream, "channels", torch.Generator().manual_seed(seed)), "dense"
        ).values
        for seed in range(ROTATIONS)
    ]
    ratios = np.sqrt([values[-1] / own[-1] for values in twins])
    return {
        "model": name,
        "N": len(own),
        "KS": f"{distance(own, twins[0]):.3f}",
        "largest s": f"{own[-1] ** 0.5:.3g}",
        "twin / model": f"{ratios.mean():.2f} ± {ratios.std(ddof=1):.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=NAMES)
    print(format_table([table_row(name) for name in parser.parse_args().models]))


if __name__ == "__main__":
    main()
