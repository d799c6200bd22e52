r"""Give a residual model one chosen effective cumulant c, whatever its activation and depth.

Two routes to the same number. For the paper's network, drawn at Var W = sigma_w^2 / (fan_in L),
sigma_w follows from the activation alone; for every other model the branches' traces are measured
at an input and the end of each branch is scaled until

    (v_l + k_l) / (a_l + t_l)^2 = share_l * c        in every block l.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack

from torch import nn

from isometry._checks import check_kind, check_real
from isometry._typing import Checked, Real
from isometry.nn.init.branch_gains import fit_gains, gained_blocks
from isometry.nn.init.centring import without_means
from isometry.nn.init.changes import write
from isometry.nn.init.condition import conditioned, product_condition_number
from isometry.nn.init.copies import warn_of_copies
from isometry.nn.init.fit import fit
from isometry.nn.init.measured import MeasuredModel, root_of, with_numbers
from isometry.nn.init.plans import InitPlan, PlannedBlock, made_for
from isometry.nn.init.scaling import Redraw
from isometry.nn.init.schemes import check_scheme
from isometry.nn.init.sharded import (
    ShardedModel,
    is_sharded,
    refuse_sharded,
    refuse_strided,
    reshard,
)
from isometry.nn.init.targets import check_method, shares_of, target_of
from isometry.nn.init.theory_route import follows_theory, theory_plan
from isometry.nn.sandbox._typing import (
    BatchNorm,
    Blocks,
    Generator,
    Key,
    Model,
    ModelInput,
    PlanMethod,
    Progress,
    Scheme,
)
from isometry.nn.sandbox.random import generator_or_fresh, seed_from
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.sandbox.unwrap import unwrapped
from isometry.theory.design import gain

__all__ = ["InitPlan", "PlannedBlock", "apply_", "gain", "plan", "residual_"]

SomeModel = TypeVar("SomeModel", bound=Callable[..., Any])


class PlanOptions(TypedDict, total=False):
    """The keyword arguments of :func:`plan`, whose docstring says what they mean."""

    inputs: ModelInput
    wrt: Key
    output: Key
    c: Real | None
    condition_number: Real | None
    branch_gain: Real | None
    shares: Sequence[Real] | None
    blocks: Blocks
    batch_norm: BatchNorm
    method: PlanMethod
    redraw: bool
    scheme: Scheme
    rtol: Real
    centre: bool
    generator: Generator
    progress: Progress | None


def plan(
    model: Model,
    x: ModelInput = None,
    *,
    inputs: ModelInput = None,
    wrt: Key = None,
    output: Key = None,
    c: Real | None = None,
    condition_number: Real | None = None,
    branch_gain: Real | None = None,
    shares: Sequence[Real] | None = None,
    blocks: Blocks = None,
    batch_norm: BatchNorm = None,
    method: PlanMethod = None,
    redraw: bool = False,
    scheme: Scheme = "normal",
    rtol: Real = 0.02,
    centre: bool = False,
    generator: Generator = None,
    progress: Progress | None = None,
) -> InitPlan:
    """Work out which weights give the model the effective cumulant ``c``; change nothing.

    Args:
        model: Residual module, or a function that calls one, from one floating-point tensor to
            one.
        x: A typical input; a batch of several samples averages over them.
        inputs: As for :class:`~isometry.nn.JacobianOperator`.
        wrt: As for :class:`~isometry.nn.JacobianOperator`.
        output: As for :class:`~isometry.nn.JacobianOperator`.
        c: Effective cumulant of all residual blocks together, above 0; 1 without
            ``condition_number`` and ``branch_gain``.
        condition_number: Wanted s_max / s_min of the Jacobian's bulk, above 1, in place of c:
            the ratio of the edges of the product law of the blocks' own spectra
            (:class:`~isometry.ProductLaw`), as they are under the plan. The universal law's, which
            is a c, by the theory route, and where there is no product law: of one block, of blocks
            between which something else acts on the stream, or where its solver refuses; the
            plan then says why, as ``condition``.
        branch_gain: Wanted sum of the branch gains ``|X|^2 / |S|^2`` (Frobenius norms), above 0, in
            place of c, which is not defined where a skip is a matrix (mixed streams, states of
            several tensors, gates, projections): X is what of a block's Jacobian goes through the
            ends of its branch, S the rest. With a number for S it is c for a branch that is free
            of drift and of its own transpose. The plan's c are then gains (``quantity``).
        shares: Relative shares of c, one positive number per block; equal without.
        blocks: Modules, or their names, to take as residual blocks; found by structure without.
        batch_norm: Statistics of batch normalisation, ``"eval"`` (running) or ``"batch"`` (those
            of ``x``, frozen).
        method: ``"theory"`` (draw all weights, sigma_w from the activation and the moments of
            ``x``), ``"data"`` (measure and scale), or ``None``: theory for
            :class:`~isometry.nn.ResNet` and its circular convolutional sibling.
        redraw: Set gains that are off (ReZero, LayerScale at 1e-6) to 1 and draw zero weights
            anew before they are scaled, instead of refusing them; open gates that are 0 through
            any function (tanh, a modulation) as far as c asks for and keep the rest; draw the
            last linear map of blocks that are copies of another anew, which makes them free. A
            term that is 0 beside one that is not, as an adapter, stays.
        scheme: How weights are drawn: ``"normal"``, ``"orthogonal"`` or ``"delta_orthogonal"``.
        rtol: Accepted relative distance of every block's c from its share (data), and of the c
            that the product law's condition number has in the universal law from that of the
            one asked for.
        centre: Remove what a branch adds to every sample alike, where a bias of the branch is
            added to its output (data), or by the theory's mean per layer (theory).
            ``plan.centred`` says what became of each. It needs a batch.
        generator: Source of probes and draws, on the CPU; without one `torch.manual_seed` decides.
        progress: Called as ``progress(done, total)`` after every block of a pass (data), with
            the three passes that are usual as the total; from the start again where the plan is
            made in several rounds.

    Returns:
        The plan; ``print`` it, then :func:`apply_` it.

    Raises:
        TypeError: If ``x`` or the output is not one floating-point tensor, or an argument is of
            the wrong type.
        ValueError: If no block is found, a block has no parameter that scales it or cannot reach
            its share, weights are not finite or on another device, an argument is out of range,
            no c gives the condition number, or a layer in train mode makes the model random.
        NotImplementedError: If ``method`` is ``"theory"`` for a model that it does not cover, or
            the weights are sharded and an argument asks for what needs whole ones, or they are
            sharded by FSDP2 over tensor parallelism.
        ConvergenceError: If a block is not within ``rtol`` in the eighth pass, or the condition
            number not in the sixth round.

    Warns:
        TheoryWarning: If blocks have copied weights and are not drawn anew, or batch normalisation
            uses running statistics that have seen no data.

    Notes:
        Cost of the data route: at most eight passes of twelve backward passes of the model, without
        parameter gradients, and of one forward pass (two in the first), and one run of its calls
        that tries out what scales each branch; blocks of fewer than 2^12 entries, batch included,
        take more, in one batch. A branch that is far from linear in what scales it (a gate, a
        cube, saturation) has its factor searched for in place, with more products of that block.
        The plan lists the residual additions that are in no block, as ``left``. Each pass
        corrects the blocks while it runs, so that later ones are measured at the input they will
        have. Measured, for c of 0.25, 1 and 4 from torch's start and with branches 10 times too
        small or too large: three passes
        for residual perceptrons, GPT-2, Llama, ViT, ConvNeXt and ResNet of 2 and 12 layers (four
        with ReLU between the blocks), up to five where an activation follows the branch's last
        linear map. Where blocks differ in size, c is the sum over all of them.

        Sharded weights (FSDP2, or tensor parallelism) are measured by reverse products on all
        processes together, which call this alike and get the same plan. All blocks are then
        corrected from one pass to the next, so that the factors are within ``rtol`` of those of
        the whole model. Blocks that are closed or far from linear are not opened or searched.

        A condition number takes, per round, one such route, the blocks' spectra and the edges of
        their product law; two or three rounds for GPTs of 6 layers, width 32 to 64, 8 to 32 tokens.
        Up to 768 values blocks are written out; of larger ones random probes leave the law's
        condition number a standard error of 6 % (2,048 values). Measured for 20 asked: the ratio
        of the 98 % to the 2 % quantile of the trunk's singular values over that of the law is 0.96
        (64 x 32) and 1.08 (48 x 16); with 8 tokens, which are not free of each other, 1.11 to 1.17.

    References:
        [tarnowski2019] arXiv:1809.08848: one c for every activation. The routes: derived here.
    """
    target, asked = target_of(c, condition_number, branch_gain)
    rtol = check_real("rtol", rtol, above=0.0)
    check_scheme(scheme, {})
    check_method(method, by_gain=(by_gain := branch_gain is not None))
    specimen = Specimen.of(model, x, inputs=inputs, wrt=wrt, output=output, batch_norm=batch_norm)
    root = root_of(specimen, batch_norm)
    source = generator_or_fresh(generator)
    if sharded := is_sharded(root):
        _refuse_whole(root, redraw, centre, asked, method)
    kind = ShardedModel if sharded else MeasuredModel
    measured = kind(specimen, specimen.point, root, blocks, batch_norm, seed_from(source), progress)
    plain = blocks is None and shares is None and not sharded and not by_gain
    if method == "theory" or (method is None and plain and follows_theory(root)):
        by_theory = theory_plan(measured, target, scheme, seed_from(source), centre=centre)
        return made_for(by_theory, root)
    stream, calls = measured.recorded({})
    measured.warn_of_fresh_statistics()
    among = gained_blocks(measured, centre=centre) if by_gain else with_numbers(stream).blocks
    parts = shares_of(shares, len(among))
    if not redraw:
        warn_of_copies(among, root)
    maps = measured.linear_maps() if redraw else {}
    fresh = Redraw(scheme if redraw else None, seed_from(source), maps)

    def fitted(c: float) -> InitPlan:
        targets, both = [c * part for part in parts], (stream.blocks, calls)
        if by_gain:
            return fit_gains(measured, among, targets, fresh, rtol)
        made = fit(measured, both, targets, fresh, rtol)
        made = replace(made, left=stream.left, spans=stream.spans)
        return without_means(measured, both, made, targets, rtol) if centre else made

    kappa = partial(product_condition_number, measured)
    try:
        made = fitted(target) if asked is None else conditioned(fitted, kappa, asked, rtol)
        return made_for(made, root)
    finally:
        if sharded:
            reshard(root)


def apply_(model: SomeModel, plan: Checked[InitPlan]) -> SomeModel:
    """Write a plan into the model; twice is once, and a plan that does not fit writes nothing.

    Args:
        model: The planned module, compiled or sharded (FSDP2) since or not, or one built alike.
        plan: What :func:`plan` or a baseline returned.

    Returns:
        The model; only the values of the parameters in ``plan.changes`` differ.

    Raises:
        TypeError: If ``model`` is not a module, or ``plan`` not a plan.
        ValueError: If a parameter is missing, of another shape, on the meta device, or its type
            cannot hold the new values.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`model` is a {type(model).__name__}; expected the torch.nn.Module whose parameters "
            "the plan names. Pass the module that the function calls."
        )
    check_kind("plan", plan, InitPlan, "what `isometry.nn.plan` or a baseline returns")
    root: Any = unwrapped(model)
    write(root, plan.changes)
    if plan.spec is not None:
        root.spec = plan.spec  # pyright: ignore[reportArgumentType]
    return model  # pyright: ignore[reportReturnType]


def residual_(model: SomeModel, x: ModelInput = None, **options: Unpack[PlanOptions]) -> SomeModel:
    """Give the model the effective cumulant ``c``: :func:`plan`, then :func:`apply_`.

    Args:
        model: As for :func:`plan`; where it is a function, the module that it calls is written.
        x: As for :func:`plan`.
        **options: The keyword arguments of :func:`plan`, from ``inputs`` to ``generator``.

    Returns:
        The model.

    Raises:
        TypeError: As for :func:`plan`.
        ValueError: As for :func:`plan`; the model is then bitwise as it was.
        NotImplementedError: As for :func:`plan`.
        ConvergenceError: As for :func:`plan`; the model is then bitwise as it was.

    Notes:
        The theory route measured at L = 100, sigma_b = 0.22 and c = 1 over 25 named activations.
        N = 800, one seed: KS of the bulk to UniversalLaw(1) at most 0.012, max/min of the bulk's
        condition number 1.13 (21.1 in theory) and of c 1.04. N = 400, four seeds: KS at most
        0.016, max/min of the condition number 1.09 to 1.17 (the edges of one matrix fluctuate)
        and of c 1.03 to 1.04, without hardshrink, softshrink and tanhshrink: their slope vanishes
        at 0, few units carry c, and c is 0.98 to 1.11 with KS up to 0.061.
    """
    made = plan(model, x, **options)
    known = {key: options.get(key) for key in ("inputs", "wrt", "output", "batch_norm")}
    apply_(root_of(Specimen.of(model, x, **known), options.get("batch_norm")), made)
    return model


def _refuse_whole(
    root: nn.Module, redraw: bool, centre: bool, asked: float | None, method: str | None
) -> None:
    """Refuse what is only known of whole weights, and shards of shards.

    Raises:
        NotImplementedError: If an argument asks for it, or the weights are sharded so.
    """
    refuse_strided(root)
    given = {
        "`redraw=True`": redraw,
        "`centre=True`": centre,
        "`condition_number`": asked is not None,
        "`method='theory'`": method == "theory",
    }
    for what in (what for what, asks in given.items() if asks):
        refuse_sharded(
            root, what, "Plan before `fully_shard` or `parallelize_module`, `apply_` afterwards."
        )
