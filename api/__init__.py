"""The web application: people, pages, and the one place where everything is wired together.

    identity/    who somebody is, and the one table of who may do what
    services     what the routes need from the rest of Vidne, as small protocols
    routes/      one module for each thing a person does; HTTP in, HTTP out
    problems     one table from error codes to status and Danish words
    security     headers, body limits, same-origin checks
    web/         templates, styles and scripts, all served from here

The routes know the protocols, never their implementations. `create_app` in `app` puts the routes together.
"""
