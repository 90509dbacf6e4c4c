"""The API server: what it holds is watched, listed and remembered here, and everything that is written goes through here."""
