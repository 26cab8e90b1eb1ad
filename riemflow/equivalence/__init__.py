"""Both directions of the equivalence, and both round trips, checked numerically.

Forward (Thm 4.8): gradient flow through a commuting G is mirror flow for an R made from G alone.
Reverse (Thm 5.1): mirror flow for R is gradient flow through the inverse of an isometric embedding.
"""

from riemflow.equivalence.forward import verify_forward
from riemflow.equivalence.report import EquivalenceReport
from riemflow.equivalence.reverse import verify_reverse

__all__ = ["EquivalenceReport", "verify_forward", "verify_reverse"]
