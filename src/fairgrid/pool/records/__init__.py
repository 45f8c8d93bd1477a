"""What a pool keeps on disk: tables, rows, the redo record, retention and backup."""
