r"""Did the initialisation of a model land? Roles from one pass, and rules over the weights.

Nothing is compared with a name or a checkpoint: a map is held to the maps that do the same in the
same model, and to a recipe if one is given.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from isometry.nn.linting.adherence import against_recipe, told
from isometry.nn.linting.buffers import buffers, structures
from isometry.nn.linting.entries import precision, symmetry, values, zeros
from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding, LintReport, ordered
from isometry.nn.linting.fresh import fresh
from isometry.nn.linting.gains import biases, norm_gains
from isometry.nn.linting.growth import growth
from isometry.nn.linting.laws import laws
from isometry.nn.linting.repeats import copies, experts, repeats
from isometry.nn.linting.replicas import replicas
from isometry.nn.linting.scales import layers
from isometry.nn.linting.shapes import distributions
from isometry.nn.roles.follow import followed, specimen_followed
from isometry.nn.roles.recipes import Recipe, RecipeLike, recipe_of
from isometry.nn.sandbox._typing import Model, ModelInput, Progress
from isometry.nn.sandbox.specimen import Specimen

RULES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    values, zeros, symmetry, repeats, copies, experts, norm_gains, biases, buffers, structures,
    precision, layers, laws, distributions, growth, fresh, replicas,
)  # fmt: skip
_AUDIT = (values, zeros, symmetry, layers)


def lint(
    model: Model,
    x: ModelInput = None,
    recipe: RecipeLike = None,
    trained: bool = False,
    *,
    progress: Progress | None = None,
) -> LintReport:
    """Look at how a model is initialised, and say what contradicts itself.

    Args:
        model: A module, or a function that calls one; train mode, dropout and hooks do not matter.
        x: An input, as the model takes it, a tensor or a tuple or dictionary of inputs; token ids
            as they are. Without one no role is known that only a pass shows.
        recipe: What the weights are to follow: "gpt2", "bert", "llama", "llama-depth", "vit", "t5",
            "mup-like", "completep-like", "torch default", "he", "resnet", "xavier", a dictionary
            ``{"roles": {"reader": {"std": 0.02}, "writer": {"std": 0.02, "depth": "1/sqrt(2L)"}}}``
            or a TOML file of that form. What departs from it is an error.
        trained: Whether the weights are meant to be trained ones: rules of initialisation are off,
            and weights that are still a fresh draw are errors.
        progress: Called as ``progress(done, total)`` while the weights are read, which takes most
            of the time, with their entries.

    Returns:
        The report; ``print`` it.

    Raises:
        TypeError: If the model is not callable, or is a function and no input is given, or the
            recipe is of another type.
        ValueError: If the recipe is not known, or has a word that is not.

    Notes:
        Cost: one forward pass (two for a function), one more and a backward pass where a map is
        all zero (again for zeros that wait for others to move), and one pass over the weights.
    """
    chosen = None if recipe is None else recipe_of(recipe)
    evidence = Evidence(followed(model, x), trained, progress=progress)
    return report_of(model_name(model, evidence.followed.roots), evidence, chosen)


def audit(specimen: Specimen, roots: Sequence[nn.Module]) -> tuple[Finding, ...]:
    """Return what looks wrong with single parameters of a model whose modules are known."""
    evidence = Evidence(specimen_followed(specimen, roots))
    return ordered([finding for rule in _AUDIT for finding in rule(evidence)])


def report_of(name: str, evidence: Evidence, recipe: Recipe | None) -> LintReport:
    """Return the report on a model that was followed."""
    findings = [finding for rule in RULES for finding in rule(evidence)]
    if recipe is not None:
        findings += against_recipe(evidence, recipe)
    fit = None if evidence.trained else evidence.fit
    return LintReport(
        model=name,
        findings=ordered(findings),
        parts=tuple(evidence.parts),
        law="" if fit is None else fit.words,
        recipe="" if evidence.trained else told(evidence, recipe),
        remark=_remark(evidence),
        summaries=evidence.summaries,
    )


def _remark(evidence: Evidence) -> str:
    """Return what was not looked at: no pass, weights that are only shapes, or sparse ones."""
    tensors = {part.parameter: evidence.tensor(part) for part in evidence.parts}.values()
    meta = sum(tensor.is_meta for tensor in tensors)
    sparse = sum(tensor.layout is not torch.strided for tensor in tensors)
    remarks = [
        evidence.followed.remark,
        f"the numbers of {meta} parameters or buffers on the meta device, without values"
        if meta else "",
        f"the numbers of {sparse} sparse parameters or buffers" if sparse else "",
    ]  # fmt: skip
    return "; ".join(remark for remark in remarks if remark)


def model_name(model: object, roots: Sequence[nn.Module]) -> str:
    """Return the class of the model, or those of the modules that a function calls."""
    classes = list(dict.fromkeys(type(root).__name__ for root in roots))
    if not classes:
        return getattr(model, "__name__", type(model).__name__)
    return " + ".join(classes[:3]) + (" + ..." if len(classes) > 3 else "")
