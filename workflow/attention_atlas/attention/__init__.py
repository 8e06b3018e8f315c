"""Attention: what the model does. Models, vision tokens, capture and extraction; torch lives here."""
