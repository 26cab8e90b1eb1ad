"""riemflow: gradient flow on a parametrization is mirror flow, and the other way round, numerically.

Forward, ``legendre_from_parametrization`` builds the Legendre function R of a commuting G; reverse,
``embed`` builds an isometric embedding F of (int dom R, ∇²R), whose inverse is the parametrization.
"""

from typing import TYPE_CHECKING

from riemflow import commuting, legendre, losses, parametrizations
from riemflow.commuting import (
    Classification,
    check_commuting,
    check_regular,
    classify,
    legendre_from_parametrization,
    lie_bracket,
)
from riemflow.embedding import (
    Atlas,
    Ball,
    Box,
    BregmanBall,
    IsometricEmbedding,
    Polytope,
    SublevelSet,
    Tube,
    embed,
    load_embedding,
    parametrization_from_legendre,
)
from riemflow.errors import (
    ConvergenceError,
    DomainError,
    FileFormatError,
    NoClosedFormError,
    NotMirrorFlowError,
    RiemflowError,
    ShapeError,
)
from riemflow.flows import (
    Ensemble,
    Flow,
    atlas_flow,
    bregman_projection,
    cartan_development,
    central_path,
    ensemble,
    gradient_descent,
    gradient_flow,
    gradient_flows,
    implicit_bias,
    logistic_flow,
    maximum_margin,
    minimize_bregman,
    mirror_descent,
    mirror_flow,
    mirror_flows,
    regularization_path,
    riemannian_gradient_descent,
    riemannian_gradient_flow,
)
from riemflow.legendre.function import LegendreFunction
from riemflow.parametrizations.parametrization import Parametrization

if TYPE_CHECKING:
    from riemflow.equivalence import EquivalenceReport, verify_forward, verify_reverse
    from riemflow.geometry import (
        AlphaConnection,
        EmbeddedSubmanifold,
        HessianManifold,
        HessianMetric,
        InducedManifold,
        InducedMetric,
        LegendreTransform,
        NaturalToGeomstats,
        SubmanifoldMetric,
        amari_chentsov_tensor,
        canonical_divergence,
    )

__version__ = "0.1.0"

__all__ = [
    "AlphaConnection",
    "Atlas",
    "Ball",
    "Box",
    "BregmanBall",
    "Classification",
    "ConvergenceError",
    "DomainError",
    "EmbeddedSubmanifold",
    "Ensemble",
    "EquivalenceReport",
    "FileFormatError",
    "Flow",
    "HessianManifold",
    "HessianMetric",
    "InducedManifold",
    "InducedMetric",
    "IsometricEmbedding",
    "LegendreFunction",
    "LegendreTransform",
    "NaturalToGeomstats",
    "NoClosedFormError",
    "NotMirrorFlowError",
    "Parametrization",
    "Polytope",
    "RiemflowError",
    "ShapeError",
    "SublevelSet",
    "SubmanifoldMetric",
    "Tube",
    "amari_chentsov_tensor",
    "atlas_flow",
    "bregman_projection",
    "canonical_divergence",
    "cartan_development",
    "central_path",
    "check_commuting",
    "check_regular",
    "classify",
    "commuting",
    "embed",
    "ensemble",
    "gradient_descent",
    "gradient_flow",
    "gradient_flows",
    "implicit_bias",
    "legendre",
    "legendre_from_parametrization",
    "lie_bracket",
    "load_embedding",
    "logistic_flow",
    "losses",
    "maximum_margin",
    "minimize_bregman",
    "mirror_descent",
    "mirror_flow",
    "mirror_flows",
    "parametrization_from_legendre",
    "parametrizations",
    "regularization_path",
    "riemannian_gradient_descent",
    "riemannian_gradient_flow",
    "verify_forward",
    "verify_reverse",
]

# geomstats takes a second to import, so what needs it is imported on first use.
_LAZY = {
    "EquivalenceReport": "riemflow.equivalence",
    "verify_forward": "riemflow.equivalence",
    "verify_reverse": "riemflow.equivalence",
    "AlphaConnection": "riemflow.geometry",
    "EmbeddedSubmanifold": "riemflow.geometry",
    "HessianManifold": "riemflow.geometry",
    "HessianMetric": "riemflow.geometry",
    "InducedManifold": "riemflow.geometry",
    "InducedMetric": "riemflow.geometry",
    "LegendreTransform": "riemflow.geometry",
    "NaturalToGeomstats": "riemflow.geometry",
    "SubmanifoldMetric": "riemflow.geometry",
    "amari_chentsov_tensor": "riemflow.geometry",
    "canonical_divergence": "riemflow.geometry",
}


def __getattr__(name: str):
    from importlib import import_module

    if name == "geometry":
        return import_module("riemflow.geometry")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'riemflow' has no attribute {name!r}")
