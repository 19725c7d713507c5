"""Watching over content: what units of media say of the picture and the sound, in a process of its own.

`kinds` (the table) and `judge` decide, `measures` measures, `decode` decodes, `content` ties them to the recorder's
feed, `messages` is what goes over it. Nothing here is on the recording way.
"""
