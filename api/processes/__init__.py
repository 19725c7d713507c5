"""One module a process, each a composition root: recorder, monitor, web application. And their supervisor."""
