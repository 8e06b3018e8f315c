"""The reference model shapes-tiny: architecture, tokenizer and training."""
