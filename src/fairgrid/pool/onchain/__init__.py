"""The chain's side of a pool: what it reads there, and the transactions that it sends."""
