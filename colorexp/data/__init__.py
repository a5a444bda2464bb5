"""From pictures on disk to batches: fetch, sources, images, scenes, prepare, store, datamodule."""
