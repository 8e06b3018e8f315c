"""Inputs: what is asked. Studies, answers, and the pictures of the demo; free of torch."""
