"""The chain's side of a worker: what it reads there, in whose name it works, the transactions that it sends."""
