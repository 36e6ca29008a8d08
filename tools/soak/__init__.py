"""What holds only if it holds a thousand times: ``make soak`` does it that often, ``make test`` a few times."""
