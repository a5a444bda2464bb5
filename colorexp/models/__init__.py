"""One file per model family; runs name a model by dotted string, `colorexp.models.<family>:<Class>`."""
