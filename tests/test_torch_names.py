"""The private names of torch that the package rests on: all listed here, all in this torch."""

import ast
import importlib
import pathlib

import pytest
import torch
from torch import distributed, nn

ROOT = pathlib.Path(__file__).parent.parent
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for path in sorted((ROOT / "src").rglob("*.py"))
}
ADVICE = "Mend these files, or pin torch below {} in pyproject.toml until they are."

# Attributes of torch's objects, with an object that must have them.
ATTRIBUTES = {
    "_ConvNd": lambda: nn.modules.conv,
    "_DropoutNd": lambda: nn.modules.dropout,
    "_buffers": nn.Identity,
    "_cdata": lambda: torch.zeros(1).untyped_storage(),
    "_forward_hooks": nn.Identity,
    "_forward_hooks_with_kwargs": nn.Identity,
    "_forward_pre_hooks": nn.Identity,
    "_forward_pre_hooks_with_kwargs": nn.Identity,
    "_input_metadata": lambda: torch.zeros(1, requires_grad=True).exp().grad_fn,
    "_modules": nn.Identity,
    "_non_persistent_buffers_set": nn.Identity,
    "_overloadname": lambda: torch.ops.aten.add.Tensor,
    "_parameters": nn.Identity,
    "_resolve_process_group": lambda: distributed.distributed_c10d,
    "_schema": lambda: torch.ops.aten.add.Tensor,
    "_sequence_nr": lambda: torch.zeros(1, requires_grad=True).exp().grad_fn,
    "_set_stance": lambda: importlib.import_module("torch._dynamo").eval_frame,
    "_stance": lambda: importlib.import_module("torch._dynamo").eval_frame,
    "_to_copy": lambda: torch.ops.aten,
    "_unsafe_view": lambda: torch.ops.aten,
    "_version": lambda: torch.zeros(1),
}
# Private attributes of others, not torch's.
ELSEWHERE = {"_exit": "os", "_is_owned": "a lock", "_replace": "a named tuple"}


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def dotted(node):
    """Return ``["torch", "_C", "x"]`` for ``torch._C.x``, or nothing."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def imported(trees):
    """Return {full name: files} of what is imported from, or written out as, a private place."""
    found = {}
    for file, tree in trees.items():
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Attribute) and dotted(node)[:1] == ["torch"]:
                names = [".".join(dotted(node))]
            for name in names:
                if any(map(is_private, name.split("."))):
                    found.setdefault(name, set()).add(file)
    return found


def own_names(trees):
    """Return every name that the package itself defines or assigns."""
    names = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
    return names


def attributes(trees):
    """Return {private attribute: files} of those that are not the package's own."""
    own, found = own_names(trees) - ATTRIBUTES.keys(), {}
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                path = dotted(node)
                if path[:1] not in (["torch"], ["self"], ["cls"]) and node.attr not in own:
                    found.setdefault(node.attr, set()).add(file)
    return found


def exists(name):
    place, _, last = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(place), last)
    except ImportError:
        return False


IMPORTED, USED = imported(TREES), attributes(TREES)


def gone(name, files):
    return f"torch {torch.__version__} has no `{name}`, which {', '.join(sorted(files))} use."


@pytest.mark.parametrize("name", IMPORTED)
def test_a_private_name_that_is_imported_is_still_in_torch(name):
    assert exists(name), f"{gone(name, IMPORTED[name])} {ADVICE.format(torch.__version__)}"


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_private_attribute_that_is_read_is_still_in_torch(name):
    there = hasattr(ATTRIBUTES[name](), name)
    assert there, f"{gone(name, USED.get(name, ()))} {ADVICE.format(torch.__version__)}"


def test_the_list_of_private_attributes_is_whole():
    assert USED.keys() - ELSEWHERE.keys() == ATTRIBUTES.keys()
    assert 15 <= len(IMPORTED) + len(ATTRIBUTES) <= 40


def test_a_name_that_is_gone_is_found_and_named():
    trees = {"a.py": ast.parse("from torch._ops import Nothing\nx.y._lost\n")}
    ((name, files),) = imported(trees).items()
    assert not exists(name)
    assert "has no `torch._ops.Nothing`, which a.py use" in gone(name, files)
    assert attributes(trees) == {"_lost": {"a.py"}}
