"""Reverse theory: isometric embeddings of ∇²R in closed form or by a spectral solver, and their inverses."""

from riemflow.embedding.atlas import Atlas, AtlasCertificate
from riemflow.embedding.build import embed, parametrization_from_legendre
from riemflow.embedding.certificate import SupBound
from riemflow.embedding.compressed import Projected
from riemflow.embedding.embedding import ClosedForm, IsometricEmbedding, SampledDefect, bracket_defect
from riemflow.embedding.files import load_embedding
from riemflow.embedding.identity import OtherMetric
from riemflow.embedding.parametrization import EmbeddedParametrization
from riemflow.embedding.reach import Injectivity, Reach
from riemflow.embedding.region import Ball, Box
from riemflow.embedding.star import BregmanBall, Polytope, SublevelSet
from riemflow.embedding.stray import stray_bound
from riemflow.embedding.tube import Tube

__all__ = [
    "Atlas",
    "AtlasCertificate",
    "Ball",
    "Box",
    "BregmanBall",
    "ClosedForm",
    "EmbeddedParametrization",
    "Injectivity",
    "IsometricEmbedding",
    "OtherMetric",
    "Polytope",
    "Projected",
    "Reach",
    "SampledDefect",
    "SublevelSet",
    "SupBound",
    "Tube",
    "bracket_defect",
    "embed",
    "load_embedding",
    "parametrization_from_legendre",
    "stray_bound",
]
