"""The side that faces the pool: the connection, and what the pool is told of this machine."""
