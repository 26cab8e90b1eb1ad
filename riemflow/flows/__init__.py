"""Gradient, mirror and Riemannian flows, their discrete steps and their limits."""

from riemflow.flows.atlas import atlas_flow
from riemflow.flows.bregman import check_bregman_function
from riemflow.flows.cases import CaseResult
from riemflow.flows.central_path import CentralPath, central_path
from riemflow.flows.convergence import check_bregman_decrease, check_limit_optimality, check_loss_decrease
from riemflow.flows.descent import Descent, gradient_descent, mirror_descent
from riemflow.flows.descent_gap import check_descents
from riemflow.flows.development import cartan_development
from riemflow.flows.ensembles import Ensemble, ensemble
from riemflow.flows.gradient import gradient_flow
from riemflow.flows.implicit_bias import (
    ImplicitBias,
    RegularizationPath,
    implicit_bias,
    regularization_path,
)
from riemflow.flows.limits import BregmanMinimum, minimize_bregman
from riemflow.flows.log_time import logistic_flow
from riemflow.flows.many_starts import gradient_flows, mirror_flows
from riemflow.flows.margins import MaximumMargin, maximum_margin
from riemflow.flows.mirror import mirror_flow
from riemflow.flows.riemannian import riemannian_gradient_flow
from riemflow.flows.solution import Flow
from riemflow.flows.step_sizes import Backtracking

__all__ = [
    "Backtracking",
    "BregmanMinimum",
    "CaseResult",
    "CentralPath",
    "Descent",
    "Ensemble",
    "Flow",
    "ImplicitBias",
    "MaximumMargin",
    "RegularizationPath",
    "atlas_flow",
    "cartan_development",
    "central_path",
    "check_bregman_decrease",
    "check_bregman_function",
    "check_descents",
    "check_limit_optimality",
    "check_loss_decrease",
    "ensemble",
    "gradient_descent",
    "gradient_flow",
    "gradient_flows",
    "implicit_bias",
    "logistic_flow",
    "maximum_margin",
    "minimize_bregman",
    "mirror_descent",
    "mirror_flow",
    "mirror_flows",
    "regularization_path",
    "riemannian_gradient_flow",
]
