"""What is left when everything else is gone: the recovery key on paper, and the way from there to media that plays."""
