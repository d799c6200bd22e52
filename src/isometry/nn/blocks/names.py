"""Names for pieces of a pass, from the modules whose outputs lie inside them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from isometry.nn.blocks.branch import Branch
from isometry.nn.blocks.recording import ModuleCall, Recording
from isometry.nn.tape import Vertex


def name_block(recording: Recording, source: Vertex, target: Vertex, inside: set[Vertex]) -> str:
    """Return the module that is the block, or the common parent and its children inside.

    Examples: "layers.5" for a module that maps source to target, "h.3.attn" where the modules
    inside are `h.3.ln_1` and everything below `h.3.attn`.
    """
    ending = recording.ending([target])
    whole = [c.name for c in ending if source in c.inputs]
    if any(whole):
        return max(filter(None, whole), key=lambda name: name.count("."))
    part = [c for c in recording.ending(inside) if target not in c.outputs]
    if not part:
        part = [c for c in ending if c.name]
    return join_names(part)


def name_branches(recording: Recording, branches: Sequence[Branch]) -> str:
    """Return the common parent, and its children, of the modules that lie in branches whole."""
    place = recording.graph.position
    inside = {v for branch in branches for v in branch.vertices(recording.graph)}
    known = {v for branch in branches for v in (*branch.sources, *branch.inside)}
    ending = recording.ending(inside)
    return join_names([c for c in ending if known.issuperset(v for v in c.inputs if v in place)])


def join_names(calls: Sequence[ModuleCall]) -> str:
    """Return the names' common parent and, where they are few, what lies below it."""
    weighty = [c for c in calls if any(p.ndim > 1 for p in c.module.parameters())] or list(calls)
    names = list(dict.fromkeys(c.name for c in weighty if c.name))
    parent = _common(names)
    if parent in names or not names:
        return parent
    outer = [n for n in names if not any(n.startswith(f"{other}.") for other in names)]
    children = [name.removeprefix(f"{parent}.") for name in outer]
    return f"{parent} ({', '.join(children)})".lstrip()


def unique(names: Iterable[str]) -> list[str]:
    """Number the names that occur more than once, as in "layer [2]"; fill in the empty ones."""
    filled = [name or f"block {index}" for index, name in enumerate(names)]
    total, seen = Counter(filled), Counter()
    result = []
    for name in filled:
        seen[name] += 1
        result.append(f"{name} [{seen[name]}]" if total[name] > 1 else name)
    return result


def _common(names: Sequence[str]) -> str:
    if not names:
        return ""
    parts = [name.split(".") for name in names]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared)
