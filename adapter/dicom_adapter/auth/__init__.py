"""Credentials for the store: Google tokens, bearer tokens, user and password."""
