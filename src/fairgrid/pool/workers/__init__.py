"""The side that workers speak to: their connections, and what they are told."""
