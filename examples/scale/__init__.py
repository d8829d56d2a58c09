"""The small ResNet trained by several processes at once with torch's FSDP2, gone on with by another number of them.

Run it from the top of the repository, with torchrun. Scans, enlarging, judging and pictures are those of
`examples.training`; here are the loop on many ranks, its checkpoints, and the export for one process.
"""
