"""Commands of `vidne` that have commands of their own. What each needs is imported when it is called."""
