"""A one-node Kubernetes for tests and for the demo, without Docker; see README.md beside this file."""
