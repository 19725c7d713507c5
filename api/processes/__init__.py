"""One module a process, each a composition root: recorder, monitor, watch, web application. And their supervisor."""
