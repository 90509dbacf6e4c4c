"""From a received instance to the store's verdict on it."""
