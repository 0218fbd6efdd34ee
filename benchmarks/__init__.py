"""Tabular benchmarks: measured architectures and configurations, to be queried."""
