"""Keys that live in a PKCS#11 token (an HSM, a TPM) and never leave it: how it is reached, and what it does for us."""
