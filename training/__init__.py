"""What `train.py` is made of: the recipe, the batches, the checkpoints, the log. Home only; never shipped to the Hub."""
