"""Gradient, mirror and Riemannian flows, their discrete steps and their limits."""

from riemflow.flows.atlas import atlas_flow
from riemflow.flows.bregman import check_bregman_function
from riemflow.flows.convergence import check_bregman_decrease, check_limit_optimality, check_loss_decrease
from riemflow.flows.descents.descent import gradient_descent, mirror_descent
from riemflow.flows.descents.descent_gap import check_descents
from riemflow.flows.descents.iterates import Descent
from riemflow.flows.descents.riemannian_descent import riemannian_gradient_descent
from riemflow.flows.descents.step_sizes import Backtracking
from riemflow.flows.development import cartan_development
from riemflow.flows.ensembles.cases import CaseResult
from riemflow.flows.ensembles.ensemble import Ensemble, ensemble
from riemflow.flows.ensembles.many_starts import gradient_flows, mirror_flows
from riemflow.flows.gradient import gradient_flow
from riemflow.flows.limits.bregman_minimum import BregmanMinimum, minimize_bregman
from riemflow.flows.limits.bregman_projection import BregmanProjection, bregman_projection
from riemflow.flows.limits.central_path import CentralPath, central_path
from riemflow.flows.limits.implicit_bias import (
    ImplicitBias,
    RegularizationPath,
    implicit_bias,
    regularization_path,
)
from riemflow.flows.limits.margins import MaximumMargin, maximum_margin
from riemflow.flows.log_time import logistic_flow
from riemflow.flows.mirror import mirror_flow
from riemflow.flows.riemannian import riemannian_gradient_flow
from riemflow.flows.solution import Flow

__all__ = [
    "Backtracking",
    "BregmanMinimum",
    "BregmanProjection",
    "CaseResult",
    "CentralPath",
    "Descent",
    "Ensemble",
    "Flow",
    "ImplicitBias",
    "MaximumMargin",
    "RegularizationPath",
    "atlas_flow",
    "bregman_projection",
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
    "riemannian_gradient_descent",
    "riemannian_gradient_flow",
]
