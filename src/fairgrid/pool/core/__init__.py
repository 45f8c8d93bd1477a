"""The scheduler itself: a pure state machine over events. No socket, database, clock or chain is imported here."""
