"""Scaling policies to compare with: each a small file that names its source and settings."""
