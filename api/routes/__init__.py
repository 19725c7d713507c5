"""HTTP in, HTTP out: one module for each thing a person does. Each route declares its gate.

account       sign in, sign out, the front page
interviews    the operator: prepare, start, stop, receipt
live          the monitor room, the state of the room, WHEP signalling
pages_cases   the prosecutor: search, interview, custody chain
media         viewing: purpose, index, checked media
copies        evidence copies
pages_system  the administrator
camera_page   a browser as camera (served by the recorder's process)
"""
