"""Paper: what is shown. Tables, numbers and figures; figures compute nothing."""
