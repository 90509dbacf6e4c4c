"""What there is: the objects and pods of an adapter or exporter, and what the pods say of themselves in `/status`. Pure."""
