"""Train, compare and inspect neural translation models: Bahdanau's RNN and the Transformer."""
