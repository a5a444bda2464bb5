"""One LightningModule per way of training; each writes `inputs`, `loss` and `predict`."""
