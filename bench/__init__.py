"""Benchmarks: ratios measured in one run. ``python -m bench --help``.

A subject is a module of ``bench.subjects`` with a function ``measure(rows)`` that yields measurements. Nothing
here fails because it was slow: a figure that misses its target says so, and the exit code stays 0.
"""
