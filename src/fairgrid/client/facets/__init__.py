"""What `Client` can do by subject: ``client.orders`` and its like, each a small object of its own."""
