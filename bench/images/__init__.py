"""The decoders, loaders, link and planning that bench.data_path times."""
