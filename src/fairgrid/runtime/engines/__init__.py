"""Engines: where sandboxes run. This machine is the default; a cluster is one worker with many slots."""
