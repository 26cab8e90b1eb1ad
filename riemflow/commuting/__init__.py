"""Forward theory: which parametrizations induce a mirror flow, and its Legendre function."""

from riemflow.commuting.brackets import lie_bracket
from riemflow.commuting.checks import Check, check_commuting, check_regular
from riemflow.commuting.legendre import legendre_from_parametrization

__all__ = ["Check", "check_commuting", "check_regular", "legendre_from_parametrization", "lie_bracket"]
