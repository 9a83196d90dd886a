"""The panel's HTTP API. It owns no logic: requests in, calls of `likeness`, JSON out."""
