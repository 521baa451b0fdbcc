"""Vectors with their provenance: Parquet parts, a manifest, and the fingerprint of the encoder."""
