"""Forward theory: which parametrizations induce a mirror flow, and its Legendre function."""

from riemflow.commuting.brackets import lie_bracket
from riemflow.commuting.checks import Check, check_commuting, check_regular
from riemflow.commuting.classification import Classification, classify
from riemflow.commuting.coordinate_flows import coordinate_flow, joint_flow
from riemflow.commuting.flow_domain import FlowDomain, check_flow_domain, flow_domain
from riemflow.commuting.iterated import iterated_bracket
from riemflow.commuting.kernel import check_brackets_in_kernel
from riemflow.commuting.legendre import legendre_from_parametrization
from riemflow.commuting.lie_algebra import LieAlgebra, lie_algebra
from riemflow.commuting.order import check_order_independence
from riemflow.commuting.polynomial_fields import as_polynomials
from riemflow.commuting.quadratic import quadratic_legendre
from riemflow.commuting.witness import Witness

__all__ = [
    "Check",
    "Classification",
    "FlowDomain",
    "LieAlgebra",
    "Witness",
    "as_polynomials",
    "check_brackets_in_kernel",
    "check_commuting",
    "check_flow_domain",
    "check_order_independence",
    "check_regular",
    "classify",
    "coordinate_flow",
    "flow_domain",
    "iterated_bracket",
    "joint_flow",
    "legendre_from_parametrization",
    "lie_algebra",
    "lie_bracket",
    "quadratic_legendre",
]
