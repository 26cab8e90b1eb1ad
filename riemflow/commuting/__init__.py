"""Forward theory: which parametrizations induce a mirror flow, and its Legendre function."""

from riemflow.commuting.brackets import lie_bracket
from riemflow.commuting.checks import Check, check_commuting, check_regular
from riemflow.commuting.classify import Classification, classify
from riemflow.commuting.coordinate_flows import coordinate_flow, joint_flow
from riemflow.commuting.flow_domain import FlowDomain, check_flow_domain, flow_domain
from riemflow.commuting.legendre import legendre_from_parametrization
from riemflow.commuting.order import check_order_independence
from riemflow.commuting.witness import Witness

__all__ = [
    "Check",
    "Classification",
    "FlowDomain",
    "Witness",
    "check_commuting",
    "check_flow_domain",
    "check_order_independence",
    "check_regular",
    "classify",
    "coordinate_flow",
    "flow_domain",
    "joint_flow",
    "legendre_from_parametrization",
    "lie_bracket",
]
