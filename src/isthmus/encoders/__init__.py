"""Adapters to pretrained encoders."""
