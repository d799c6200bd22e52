# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedExpression=false
"""Calls that a type checker must flag: a line that it accepts is an error of `make check`.

Every call carries the comment that silences the one error due; where pyright finds no error, it
reports the comment as unnecessary. Nothing here is run.
"""

import numpy as np
import torch

import isometry as iso
from isometry import nn as inn
from isometry.experiments.engine.executors import open_executor
from isometry.experiments.profiles import studies

rng = np.random.default_rng(0)
law = iso.UniversalLaw()
spec = iso.ResNetSpec()
x = torch.zeros(1, 3)
net = torch.nn.Linear(3, 3)
J = inn.JacobianOperator(net, x)


def numbers() -> None:
    iso.UniversalLaw(c="one")  # pyright: ignore[reportArgumentType]
    iso.UniversalLaw(scale=None)  # pyright: ignore[reportArgumentType]
    iso.UniversalLaw(c=[1.0])  # pyright: ignore[reportArgumentType]
    iso.UniversalLaw(c=1j)  # pyright: ignore[reportArgumentType]
    iso.FiniteDepthLaw("abc", [1.0])  # pyright: ignore[reportArgumentType]
    iso.FiniteDepthLaw([[0.1]], [1.0], skip="one")  # pyright: ignore[reportArgumentType]
    iso.FiniteDepthLaw.ginibre("0.2")  # pyright: ignore[reportArgumentType]
    iso.ResNetSpec("relu", depth="ten")  # pyright: ignore[reportArgumentType]
    iso.ResNetSpec("relu", depth=1.5)  # pyright: ignore[reportArgumentType]
    iso.ResNetSpec("relu", sigma_w=(1.0,))  # pyright: ignore[reportArgumentType]
    iso.propagate(spec, m1="0")  # pyright: ignore[reportArgumentType]
    iso.effective_cumulant(spec, m2=np.ones(3))  # pyright: ignore[reportArgumentType]
    iso.solve_sigma_w("gelu", depth=10.0)  # pyright: ignore[reportArgumentType]
    iso.solve_sigma_w("gelu", depth=10, c="1")  # pyright: ignore[reportArgumentType]
    iso.cumulant_from_condition_number("20")  # pyright: ignore[reportArgumentType]
    iso.gain("relu", q=[1.0])  # pyright: ignore[reportArgumentType]


def arrays() -> None:
    iso.Spectrum("abc")  # pyright: ignore[reportArgumentType]
    iso.Spectrum(["a", "b"])  # pyright: ignore[reportArgumentType]
    iso.Spectrum([1.0], weights="equal")  # pyright: ignore[reportArgumentType]
    iso.Spectrum([1.0], dimension=1.0)  # pyright: ignore[reportArgumentType]
    iso.Spectrum.from_matrix("J")  # pyright: ignore[reportArgumentType]
    law.pdf("x")  # pyright: ignore[reportArgumentType]
    law.cdf(None)  # pyright: ignore[reportArgumentType]
    law.icdf({0.5})  # pyright: ignore[reportArgumentType]
    law.sample(1.5, rng=rng)  # pyright: ignore[reportArgumentType]
    law.sample(3, rng=0)  # pyright: ignore[reportArgumentType]
    law.cauchy_transform("1j")  # pyright: ignore[reportArgumentType]
    iso.gaussian_moments("relu", "1")  # pyright: ignore[reportCallIssue, reportArgumentType]
    iso.gaussian_mean("relu", 1.0)  # pyright: ignore[reportArgumentType]


def words() -> None:
    law.moment(1, method="theroy")  # pyright: ignore[reportArgumentType]
    law.s_transform(-0.5, method=[])  # pyright: ignore[reportArgumentType]


def things() -> None:
    iso.activation(3)  # pyright: ignore[reportArgumentType]
    iso.propagate("relu")  # pyright: ignore[reportArgumentType]
    iso.jacobian_law("relu")  # pyright: ignore[reportArgumentType]
    iso.predict_outliers(3)  # pyright: ignore[reportArgumentType]
    iso.compare([1.0], law)  # pyright: ignore[reportArgumentType]
    iso.compare(iso.Spectrum([1.0]), 1.0)  # pyright: ignore[reportArgumentType]
    law.c = 2.0  # pyright: ignore[reportAttributeAccessIssue]
    iso.propagate(spec, 0.0, 1.0)  # pyright: ignore[reportCallIssue]


def models() -> None:
    inn.JacobianOperator(5, "x")  # pyright: ignore[reportArgumentType]
    inn.JacobianOperator(net, "x")  # pyright: ignore[reportArgumentType]
    inn.JacobianOperator(net, x, route="tap")  # pyright: ignore[reportArgumentType]
    inn.JacobianOperator(net, x, batch_norm="train")  # pyright: ignore[reportArgumentType]
    J @ "v"  # pyright: ignore[reportOperatorIssue]
    inn.singular_spectrum(net)  # pyright: ignore[reportArgumentType]
    inn.singular_spectrum(J, method="lancsoz")  # pyright: ignore[reportArgumentType]
    inn.singular_spectrum(J, num_probes="8")  # pyright: ignore[reportArgumentType]
    inn.singular_spectrum(J, num_probes=None)  # pyright: ignore[reportArgumentType]
    inn.singular_spectrum(J, generator=rng)  # pyright: ignore[reportArgumentType]
    inn.matrix_spectrum(None)  # pyright: ignore[reportArgumentType]
    inn.largest_singular_values(J, k=1.5)  # pyright: ignore[reportArgumentType]
    inn.smallest_singular_values(J, tolerance="1")  # pyright: ignore[reportArgumentType]
    inn.estimate_seconds(None)  # pyright: ignore[reportArgumentType]
    inn.residual_blocks(None, x)  # pyright: ignore[reportArgumentType]
    inn.residual_blocks(net, x, blocks=3)  # pyright: ignore[reportArgumentType]
    inn.block_traces(3)  # pyright: ignore[reportArgumentType]
    inn.measured_law([3])  # pyright: ignore[reportArgumentType]
    inn.diagnose(net, x, ["branch"])  # pyright: ignore[reportCallIssue]
    inn.diagnose(net, x, method="theory")  # pyright: ignore[reportArgumentType]
    inn.diagnose(net, x, num_matvecs="all")  # pyright: ignore[reportArgumentType]
    inn.plan(net, x, c="one")  # pyright: ignore[reportArgumentType]
    inn.plan(net, x, method="dense")  # pyright: ignore[reportArgumentType]
    inn.plan(net, x, scheme="orthognal")  # pyright: ignore[reportArgumentType]
    inn.plan(net, x, shares=0.5)  # pyright: ignore[reportArgumentType]
    inn.plan(net, x, generator=rng)  # pyright: ignore[reportArgumentType]
    inn.apply_(net, None)  # pyright: ignore[reportArgumentType]
    inn.residual_("net", x)  # pyright: ignore[reportArgumentType]
    inn.baselines.he(net, x, block=None)  # pyright: ignore[reportCallIssue]
    inn.ResNet("relu", width=4)  # pyright: ignore[reportArgumentType]
    inn.ResNet(spec, width=4.0)  # pyright: ignore[reportArgumentType]
    inn.ConvResNet(spec, 3, padding_mode="same")  # pyright: ignore[reportArgumentType]
    inn.JacobianMonitor(every="10")  # pyright: ignore[reportArgumentType]
    inn.JacobianMonitor(at="blocks")([net.weight], x, 0)  # pyright: ignore[reportArgumentType]
    inn.measure_scale("net", x)  # pyright: ignore[reportArgumentType]


def runs() -> None:
    studies("quik", ["digits"])  # pyright: ignore[reportArgumentType]
    open_executor("processes")  # pyright: ignore[reportArgumentType]
    open_executor("serial", workers="2")  # pyright: ignore[reportArgumentType]
