"""Who somebody is (`passwords`, `sessions`, `attempts`) and what they may do (`permissions`)."""
