"""Kill −9 of the store while it takes in, seals, brings to a second vault, stamps and erases."""
