"""Geodesics and parallel transport: in closed form where R's structure gives it, else by integration."""
