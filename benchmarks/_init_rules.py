"""The initialisation rules that the benchmarks compare: known ones, two packages, and ours."""

import argparse
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from _cells import Key, Row, run_cells
from _init_families import seeded
from isometry import nn as inn
from isometry.nn.init import baselines

Rule = Callable[[nn.Module, Tensor, int, dict[str, Any]], None]
"""Writes into the model, from the model, a batch, a seed and the options of its family."""

PEERS = {"lsuv": "0.3.0", "anyinit": "0.4.0"}


def parser(doc: str | None, cells: str) -> argparse.ArgumentParser:
    """Return the options that both comparisons of rules have; ``cells`` is their file's default."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seeds", type=int, default=3, help="models per cell")
    made.add_argument("--peers", action="store_true", help="install lsuv and anyinit")
    made.add_argument("--workers", type=int, default=2, help="processes")
    made.add_argument("--cells", type=Path, default=Path(cells))
    made.add_argument("--table", type=Path, help="document that includes the table")
    return made


def measure_all(
    keys: Sequence[Key], measure: Callable[[Key], Row], wish: argparse.Namespace
) -> list[Row]:
    """Return key and row of every cell, with the peers installed for as long where wished."""
    with tempfile.TemporaryDirectory() as folder:
        if wish.peers:
            install_peers(folder)
        rows = run_cells(keys, measure, wish.cells, workers=wish.workers)
    return [{**key, **row} for key, row in zip(keys, rows, strict=True)]


def install_peers(folder: str) -> None:
    """Put the packages into a folder, without what they depend on, and look there first.

    Raises:
        RuntimeError: If pip fails.
    """
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
    wanted = [f"{package}=={version}" for package, version in PEERS.items()]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip cannot install {wanted}: {done.stderr.strip()[-500:]}")
    sys.path.insert(0, folder)


def _baseline(name: str) -> Rule:
    def write(model: nn.Module, x: Tensor, seed: int, options: dict[str, Any]) -> None:
        rule = getattr(baselines, name)
        inn.apply_(model, rule(model, x, generator=seeded(seed), **options))

    return write


def _ours(c: float) -> Rule:
    def write(model: nn.Module, x: Tensor, seed: int, options: dict[str, Any]) -> None:
        inn.residual_(model, x, c=c, redraw=True, generator=seeded(seed), **options)

    return write


def lsuv(model: nn.Module, x: Tensor, seed: int, _options: dict[str, Any]) -> None:
    """Call lsuv; it draws from torch's global random state."""
    package = importlib.import_module("lsuv")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        package.lsuv_with_singlebatch(model, x, verbose=False)


def anyinit(model: nn.Module, x: Tensor, seed: int, _options: dict[str, Any]) -> None:
    """Call anyinit in the mode that measures, like the rules that it is compared with."""
    importlib.import_module("anyinit").initialize(model, "empirical", x, seed=seed)


def _told(package: str, rule: Rule) -> Rule:
    """Say whose failure it is, and that a model left as it was is one."""

    def write(model: nn.Module, x: Tensor, seed: int, options: dict[str, Any]) -> None:
        before = [p.detach().clone() for p in model.parameters()]
        try:
            rule(model, x, seed, options)
        except Exception as error:
            raise RuntimeError(f"{package} fails: {error}") from error
        if all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)):
            raise RuntimeError(f"{package} finds no layer that it knows and changes nothing")

    return write


_NAMED = ("torch_default", "he", "fixup", "skipinit", "rezero", "lsuv", "depth_mup")
PEER_RULES: dict[str, Rule] = {
    "lsuv 0.3 (PyPI)": _told("lsuv", lsuv),
    "anyinit 0.4 (PyPI)": _told("anyinit", anyinit),
}
RULES: dict[str, Rule] = {
    **{name: _baseline(name) for name in _NAMED},
    **PEER_RULES,
    **{f"isometry c = {c:g}": _ours(c) for c in (0.25, 1.0, 4.0)},
}
