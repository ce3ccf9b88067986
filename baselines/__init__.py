"""What CatLIP is compared with: an objective each, on the same batches, loop and recipes."""
