"""Engines: where proposals are run. Only `nas.cluster.ray_engine` imports ray, and nothing here imports it."""
