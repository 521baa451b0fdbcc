"""Scorers: what corrects, calibrates or computes the scores of queries against a gallery."""
