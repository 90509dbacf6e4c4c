"""Storage commitment, push model (PS3.4 J.3): what the store has, told to whoever asks."""
