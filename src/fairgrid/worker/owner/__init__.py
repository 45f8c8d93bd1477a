"""The side that the machine's owner speaks to: rules, what the machine says of itself, pause, drain, earnings."""
