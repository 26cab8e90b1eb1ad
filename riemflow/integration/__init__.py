"""The only door to integrators of ordinary differential equations."""

from riemflow.integration.batched import solve_batched
from riemflow.integration.single import Solution, solve_ode
from riemflow.integration.steps import SHARE

__all__ = ["SHARE", "Solution", "solve_batched", "solve_ode"]
