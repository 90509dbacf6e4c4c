"""C-FIND (PS3.4 C.4.1): a query in, the store's search results out."""
