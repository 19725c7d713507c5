"""What the simulated cameras look at; `hardware.simulated_room` animates them."""
