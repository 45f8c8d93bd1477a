"""The worker's mind: a pure state machine over events. No socket, database, clock or chain is imported here."""
