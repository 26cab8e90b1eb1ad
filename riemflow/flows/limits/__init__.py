"""Limits of flows without the flow: Newton on the dual, margins, central paths, implicit bias."""
