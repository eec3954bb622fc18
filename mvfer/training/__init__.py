"""What `train.py` is made of: recipe, tasks, batches, checkpoints, log. Home only; never shipped to the Hub."""
