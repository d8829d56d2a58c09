"""Folders that `torch.distributed.checkpoint` has written, read without it: safetensors shards, and its own format."""
