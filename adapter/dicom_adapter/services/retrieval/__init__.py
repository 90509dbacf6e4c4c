"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): instances from the store, to whoever wants them."""
