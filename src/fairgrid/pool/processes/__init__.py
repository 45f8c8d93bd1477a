"""The processes of a pool: how one is put together, which one leads, and how another takes over."""
