"""What outlives a run: the journal, failures that can be replayed, golden folders, and what is told of them."""
