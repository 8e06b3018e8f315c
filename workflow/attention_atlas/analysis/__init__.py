"""Analysis: what the maps mean. Pooling, focus, steps and statistics; reads datasets, never a model."""
