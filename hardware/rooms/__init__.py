"""Room profiles, one TOML file a room; `hardware.profile` reads them."""
