"""The monitor room: shows the child's interview live next door, and leaves no copy behind.

Fed by the recorder over a socket that drops rather than waits (`recorder.feed`); nothing here can hold a recording up.
"""
