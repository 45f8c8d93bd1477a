"""How a worker comes to be: the network it joins, what it still needs, how its parts are opened, its service unit."""
