"""Instances changed on their way."""
